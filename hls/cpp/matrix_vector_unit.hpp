// Matrix-vector unit: out[n] = (start[n] + sum over k of w[n][k] * in[g][k]) mod 2^AccumulatorBits.
//
// A vector is Groups subvectors of Inputs inputs; subvector g makes Neurons / Groups of the outputs.
// Pe neurons and Simd inputs are worked on in each cycle. Input beats carry k = j*Simd ..., output
// beats neurons b*Pe ..., lane 0 in the low bits. A subvector is kept in a buffer while the
// remaining neuron folds of its group pass. The accumulator wraps: only the final sum has to fit.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "products.hpp"

// `weights[n_fold * InputFolds + k_fold]` holds the Pe * Simd weights of one cycle, Simd fastest,
// in words of 64 bits. A weight never straddles two words. Vectors are the pixels of an image of
// Rows x Columns, row by row: `row_starts` and `column_starts` lead to the start values of a
// pixel's border class. Without classes, the image is one pixel.
template <template <int, int> class Product, int Neurons, int Inputs, int Groups, int Pe, int Simd,
          int InputBits, int WeightBits, int AccumulatorBits, int Vectors, int Words, int Starts,
          int Rows, int Columns, typename Start, typename RowStart, typename ColumnStart>
void matrix_vector_unit(
    hls::stream<ap_uint<Simd * InputBits> > &in, hls::stream<ap_uint<Pe * AccumulatorBits> > &out,
    const unsigned long long (&weights)[(Neurons / Pe) * (Inputs / Simd)][Words],
    const Start (&start)[Starts][Pe], const RowStart (&row_starts)[1][Rows],
    const ColumnStart (&column_starts)[1][Columns]) {
#pragma HLS ARRAY_RESHAPE variable=weights type=complete dim=2
#pragma HLS ARRAY_RESHAPE variable=start type=complete dim=2
  static_assert(Neurons % (Groups * Pe) == 0 && Inputs % Simd == 0, "lanes must divide the matrix");
  static_assert(Vectors % (Rows * Columns) == 0, "vectors must be whole images");
  const int kInputFolds = Inputs / Simd;
  const int kNeuronFolds = Neurons / Pe;
  const int kGroupFolds = kNeuronFolds / Groups;
  const int kCycles = kNeuronFolds * kInputFolds;
  const int kWeightsPerWord = 64 / WeightBits;
  typedef Product<WeightBits, InputBits> Lane;
  typedef ap_int<Lane::Result::width + bits_for(Simd)> PartialSum;

  ap_uint<Simd * InputBits> buffer[kInputFolds];
#pragma HLS BIND_STORAGE variable=buffer type=ram_2p
  ap_uint<AccumulatorBits> accumulator[Pe];
#pragma HLS ARRAY_PARTITION variable=accumulator type=complete

  int cycle = 0;
  int neuron_fold = 0;
  int group_fold = 0;  // neuron_fold % kGroupFolds
  int input_fold = 0;
  int row = 0;
  int column = 0;
  for (int i = 0; i < Vectors * kCycles; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    ap_uint<Simd * InputBits> values;
    if (group_fold == 0) {
      values = in.read();
      buffer[input_fold] = values;
    } else {
      values = buffer[input_fold];
    }

    const int start_word = row_starts[0][row] + column_starts[0][column] + neuron_fold;
    ap_uint<Pe * AccumulatorBits> sums;
    for (int pe = 0; pe < Pe; ++pe) {
#pragma HLS UNROLL
      PartialSum partial = 0;
      for (int lane = 0; lane < Simd; ++lane) {
#pragma HLS UNROLL
        const int position = pe * Simd + lane;
        const int shift = (position % kWeightsPerWord) * WeightBits;
        const ap_uint<WeightBits> weight = weights[cycle][position / kWeightsPerWord] >> shift;
        const ap_uint<InputBits> value = values.range((lane + 1) * InputBits - 1, lane * InputBits);
        partial += Lane::multiply(weight, value);
      }
      const ap_uint<AccumulatorBits> before =
          input_fold == 0 ? ap_uint<AccumulatorBits>(start[start_word][pe]) : accumulator[pe];
      accumulator[pe] = before + partial;
      sums.range((pe + 1) * AccumulatorBits - 1, pe * AccumulatorBits) = accumulator[pe];
    }

    cycle = cycle == kCycles - 1 ? 0 : cycle + 1;
    if (input_fold < kInputFolds - 1) {
      ++input_fold;
      continue;
    }
    out.write(sums);
    input_fold = 0;
    group_fold = group_fold == kGroupFolds - 1 ? 0 : group_fold + 1;
    ++neuron_fold;
    if (neuron_fold == kNeuronFolds) {
      neuron_fold = 0;
      next_pixel<Rows, Columns>(row, column);
    }
  }
}

// Matrix-vector unit: out[n] = (start[n] + sum over k of w[n][k] * in[g][k]) mod 2^AccumulatorBits.
//
// A vector is Groups subvectors of Inputs inputs; subvector g makes Neurons / Groups of the
// outputs. Pe neurons and Simd inputs are worked on in each cycle. Input beats carry k = j*Simd
// ..., output beats neurons b*Pe ..., lane 0 in the low bits. A subvector is kept in a buffer while
// the remaining neuron folds of its group pass. The accumulator wraps: only the final sum has to
// fit.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "mac_array.hpp"

// `weights[n_fold * InputFolds + k_fold]` holds the Pe * Simd weights of one cycle. Vectors are the
// pixels of an image of Rows x Columns: `row_starts` and `column_starts` lead to the start values
// of a pixel's border class. See mac_array.hpp for both.
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

  ap_uint<Simd * InputBits> buffer[kInputFolds];
#pragma HLS BIND_STORAGE variable=buffer type=ram_2p
  ap_uint<AccumulatorBits> accumulator[Pe];
#pragma HLS ARRAY_PARTITION variable=accumulator type=complete

  MacPosition<kNeuronFolds, kInputFolds, Rows, Columns> at;
  LoopIndex<kNeuronFolds / Groups> group_fold;
  for (int i = 0; i < Vectors * kNeuronFolds * kInputFolds; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    ap_uint<Simd * InputBits> values;
    if (group_fold.index == 0) {
      values = in.read();
      buffer[at.beat.index] = values;
    } else {
      values = buffer[at.beat.index];
    }

    const int fold =
        row_starts[0][at.row.index] + column_starts[0][at.column.index] + at.fold.index;
    const ap_uint<Pe * AccumulatorBits> sums =
        multiply_accumulate<Product, Pe, Simd, InputBits, WeightBits, AccumulatorBits, Simd>(
            values, weights, at.cycle.index, start, fold, at.beat.index == 0, accumulator);
    if (at.advance()) {
      out.write(sums);
      group_fold.advance();
    }
  }
}

// Matrix-vector unit: out[n] = (start[n] + sum over k of w[n][k] * in[k]) mod 2^AccumulatorBits.
//
// Pe neurons and Simd inputs are worked on in each cycle. Input beats carry k = j*Simd ..., output
// beats neurons b*Pe ..., lane 0 in the low bits. The input vector is kept in a buffer while the
// remaining neuron folds pass over it. The accumulator wraps: only the final sum has to fit.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"

// Bits that hold the numbers 0 .. count.
constexpr int bits_for(int count) { return count == 0 ? 0 : 1 + bits_for(count >> 1); }

// A weight is WeightBits wide in two's complement.
template <int WeightBits, int InputBits>
struct SignedProduct {
  typedef ap_int<WeightBits + InputBits> Result;
  static Result multiply(ap_uint<WeightBits> weight, ap_uint<InputBits> value) {
#pragma HLS INLINE
    return ap_int<WeightBits>(weight) * value;
  }
};

// A weight bit b stands for 2b - 1.
template <int WeightBits, int InputBits>
struct SignProduct {
  static_assert(WeightBits == 1, "a sign is one bit");
  typedef ap_int<InputBits + 1> Result;
  static Result multiply(ap_uint<1> weight, ap_uint<InputBits> value) {
#pragma HLS INLINE
    return weight == 1 ? Result(value) : Result(-value);
  }
};

// The same for one-bit inputs: a weight bit b stands for 2b - 1, and 2*b*u - u = xnor(b, u) - (1 - b): the popcount of the
// XNORs is the dot product once the number of weights -1 has been taken off the start value.
template <int WeightBits, int InputBits>
struct XnorProduct {
  static_assert(WeightBits == 1 && InputBits == 1, "XNOR needs one-bit weights and inputs");
  typedef ap_uint<1> Result;
  static Result multiply(ap_uint<1> weight, ap_uint<1> value) {
#pragma HLS INLINE
    return ~(weight ^ value);
  }
};

// `weights[n_fold * InputFolds + k_fold]` holds the Pe * Simd weights of one cycle, Simd fastest,
// in words of 64 bits. A weight never straddles two words.
template <template <int, int> class Product, int Neurons, int Inputs, int Pe, int Simd,
          int InputBits, int WeightBits, int AccumulatorBits, int Vectors, int Words,
          typename Start>
void matrix_vector_unit(
    hls::stream<ap_uint<Simd * InputBits> > &in, hls::stream<ap_uint<Pe * AccumulatorBits> > &out,
    const unsigned long long (&weights)[(Neurons / Pe) * (Inputs / Simd)][Words],
    const Start (&start)[Neurons / Pe][Pe]) {
#pragma HLS ARRAY_RESHAPE variable=weights type=complete dim=2
#pragma HLS ARRAY_RESHAPE variable=start type=complete dim=2
  static_assert(Neurons % Pe == 0 && Inputs % Simd == 0, "lanes must divide the matrix");
  const int kInputFolds = Inputs / Simd;
  const int kCycles = (Neurons / Pe) * kInputFolds;
  const int kWeightsPerWord = 64 / WeightBits;
  typedef Product<WeightBits, InputBits> Lane;
  typedef ap_int<Lane::Result::width + bits_for(Simd)> PartialSum;

  ap_uint<Simd * InputBits> buffer[kInputFolds];
#pragma HLS BIND_STORAGE variable=buffer type=ram_2p
  ap_uint<AccumulatorBits> accumulator[Pe];
#pragma HLS ARRAY_PARTITION variable=accumulator type=complete

  int cycle = 0;
  int neuron_fold = 0;
  int input_fold = 0;
  for (int i = 0; i < Vectors * kCycles; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    ap_uint<Simd * InputBits> values;
    if (neuron_fold == 0) {
      values = in.read();
      buffer[input_fold] = values;
    } else {
      values = buffer[input_fold];
    }

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
          input_fold == 0 ? ap_uint<AccumulatorBits>(start[neuron_fold][pe]) : accumulator[pe];
      accumulator[pe] = before + partial;
      sums.range((pe + 1) * AccumulatorBits - 1, pe * AccumulatorBits) = accumulator[pe];
    }

    cycle = cycle == kCycles - 1 ? 0 : cycle + 1;
    if (input_fold == kInputFolds - 1) {
      out.write(sums);
      input_fold = 0;
      neuron_fold = cycle == 0 ? 0 : neuron_fold + 1;
    } else {
      ++input_fold;
    }
  }
}

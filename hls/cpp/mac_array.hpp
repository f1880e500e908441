// Multiply-accumulate array of the matrix-vector and the depthwise vector unit: Pe sums of products
// of inputs and stored weights, onto start values.
//
// A vector is Folds output beats of Pe sums, each of which takes Beats cycles. The accumulators
// wrap: only the final sum has to fit.
#pragma once

#include "ap_int.h"
#include "loop_index.hpp"
#include "products.hpp"

// Bits that hold the numbers 0 .. count.
constexpr int bits_for(int count) { return count == 0 ? 0 : 1 + bits_for(count >> 1); }

// Which cycle of a vector this is, which beat of which output beat, and which pixel the vector is
// of an image of Rows x Columns, row by row. Without border classes, the image is one pixel.
template <int Folds, int Beats, int Rows, int Columns>
struct MacPosition {
  LoopIndex<Folds * Beats> cycle;
  LoopIndex<Beats> beat;
  LoopIndex<Folds> fold;
  LoopIndex<Columns> column;
  LoopIndex<Rows> row;

  // Goes on by a cycle; returns whether that was the end of an output beat.
  bool advance() {
#pragma HLS INLINE
    cycle.advance();
    if (!beat.advance()) return false;
    if (fold.advance() && column.advance()) row.advance();
    return true;
  }
};

// One cycle: adds Simd products to each accumulator, which begins with its start value if `first`,
// and returns the sums. `values` are Simd inputs for all sums, or Pe times Simd of their own. Row
// `cycle` of `weights`, or its only one, has the Pe * Simd weights, Simd fastest, in words of 64
// bits; a weight never straddles two words. Row `fold` of `start` has the start values.
template <template <int, int> class Product, int Pe, int Simd, int InputBits, int WeightBits,
          int AccumulatorBits, int Inputs, int WeightRows, int Words, int Starts, typename Start>
ap_uint<Pe * AccumulatorBits> multiply_accumulate(
    const ap_uint<Inputs * InputBits> &values,
    const unsigned long long (&weights)[WeightRows][Words], int cycle,
    const Start (&start)[Starts][Pe], int fold, bool first,
    ap_uint<AccumulatorBits> (&accumulator)[Pe]) {
#pragma HLS INLINE
  static_assert(Inputs == Simd || Inputs == Pe * Simd, "inputs for all sums, or for each");
  const int kWeightsPerWord = 64 / WeightBits;
  typedef Product<WeightBits, InputBits> Lane;
  typedef ap_int<Lane::Result::width + bits_for(Simd)> PartialSum;

  ap_uint<Pe * AccumulatorBits> sums;
  for (int pe = 0; pe < Pe; ++pe) {
#pragma HLS UNROLL
    PartialSum partial = 0;
    for (int lane = 0; lane < Simd; ++lane) {
#pragma HLS UNROLL
      const int position = pe * Simd + lane;
      const int shift = (position % kWeightsPerWord) * WeightBits;
      const ap_uint<WeightBits> weight =
          weights[WeightRows == 1 ? 0 : cycle][position / kWeightsPerWord] >> shift;
      const int input = position % Inputs;
      const ap_uint<InputBits> value = values.range((input + 1) * InputBits - 1, input * InputBits);
      partial += Lane::multiply(weight, value);
    }
    const ap_uint<AccumulatorBits> before =
        first ? ap_uint<AccumulatorBits>(start[fold][pe]) : accumulator[pe];
    accumulator[pe] = before + partial;
    sums.range((pe + 1) * AccumulatorBits - 1, pe * AccumulatorBits) = accumulator[pe];
  }
  return sums;
}

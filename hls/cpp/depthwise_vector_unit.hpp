// Depthwise vector unit: out[c] = (start[c] + sum over k of w[c][k] * in[k][c]) mod
// 2^AccumulatorBits.
//
// A vector is Channels / Pe blocks of Positions beats, each with one input of Pe channels, lane 0 in
// the low bits; a beat with Pe sums leaves for each block. The accumulators wrap: only the final
// sum has to fit.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "products.hpp"

// `weights[block * Positions + position]` holds the Pe weights of one cycle in words of 64 bits; if
// there is only one row, it holds for all. A weight never straddles two words. Vectors are the
// pixels of an image of Rows x Columns, row by row: `row_starts` and `column_starts` lead to the
// start values of a pixel's border class. Without classes, the image is one pixel.
template <template <int, int> class Product, int Channels, int Positions, int Pe, int InputBits,
          int WeightBits, int AccumulatorBits, int Vectors, int WeightRows, int Words, int Starts,
          int Rows, int Columns, typename Start, typename RowStart, typename ColumnStart>
void depthwise_vector_unit(
    hls::stream<ap_uint<Pe * InputBits> > &in, hls::stream<ap_uint<Pe * AccumulatorBits> > &out,
    const unsigned long long (&weights)[WeightRows][Words], const Start (&start)[Starts][Pe],
    const RowStart (&row_starts)[1][Rows], const ColumnStart (&column_starts)[1][Columns]) {
#pragma HLS ARRAY_RESHAPE variable=weights type=complete dim=2
#pragma HLS ARRAY_RESHAPE variable=start type=complete dim=2
  const int kBlocks = Channels / Pe;
  const int kCycles = kBlocks * Positions;
  const int kWeightsPerWord = 64 / WeightBits;
  static_assert(Channels % Pe == 0, "lanes must divide the channels");
  static_assert(Vectors % (Rows * Columns) == 0, "vectors must be whole images");
  static_assert(WeightRows == kCycles || WeightRows == 1, "weights for each cycle, or for all");
  typedef Product<WeightBits, InputBits> Lane;

  ap_uint<AccumulatorBits> accumulator[Pe];
#pragma HLS ARRAY_PARTITION variable=accumulator type=complete

  int cycle = 0;
  int block = 0;
  int position = 0;
  int row = 0;
  int column = 0;
  for (int i = 0; i < Vectors * kCycles; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    const ap_uint<Pe * InputBits> values = in.read();
    const int start_word = row_starts[0][row] + column_starts[0][column] + block;
    ap_uint<Pe * AccumulatorBits> sums;
    for (int pe = 0; pe < Pe; ++pe) {
#pragma HLS UNROLL
      const int shift = (pe % kWeightsPerWord) * WeightBits;
      const ap_uint<WeightBits> weight =
          weights[WeightRows == 1 ? 0 : cycle][pe / kWeightsPerWord] >> shift;
      const ap_uint<InputBits> value = values.range((pe + 1) * InputBits - 1, pe * InputBits);
      const ap_uint<AccumulatorBits> before =
          position == 0 ? ap_uint<AccumulatorBits>(start[start_word][pe]) : accumulator[pe];
      accumulator[pe] = before + Lane::multiply(weight, value);
      sums.range((pe + 1) * AccumulatorBits - 1, pe * AccumulatorBits) = accumulator[pe];
    }

    cycle = cycle == kCycles - 1 ? 0 : cycle + 1;
    if (position < Positions - 1) {
      ++position;
      continue;
    }
    out.write(sums);
    position = 0;
    ++block;
    if (block == kBlocks) {
      block = 0;
      next_pixel<Rows, Columns>(row, column);
    }
  }
}

// Depthwise vector unit: out[c] = (start[c] + sum over k of w[c][k] * in[k][c]) mod
// 2^AccumulatorBits.
//
// A vector is Channels / Pe blocks of Positions beats, each with one input of Pe channels, lane 0
// in the low bits; a beat with Pe sums leaves for each block. The accumulators wrap: only the final
// sum has to fit.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "mac_array.hpp"

// `weights[block * Positions + position]` holds the Pe weights of one cycle; if there is only one
// row, it holds for all. Vectors are the pixels of an image of Rows x Columns: `row_starts` and
// `column_starts` lead to the start values of a pixel's border class. See mac_array.hpp for both.
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
  static_assert(Channels % Pe == 0, "lanes must divide the channels");
  static_assert(Vectors % (Rows * Columns) == 0, "vectors must be whole images");
  static_assert(WeightRows == kCycles || WeightRows == 1, "weights for each cycle, or for all");

  ap_uint<AccumulatorBits> accumulator[Pe];
#pragma HLS ARRAY_PARTITION variable=accumulator type=complete

  MacPosition<kBlocks, Positions, Rows, Columns> at;
  for (int i = 0; i < Vectors * kCycles; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    const ap_uint<Pe * InputBits> values = in.read();
    const int fold =
        row_starts[0][at.row.index] + column_starts[0][at.column.index] + at.fold.index;
    const ap_uint<Pe * AccumulatorBits> sums =
        multiply_accumulate<Product, Pe, 1, InputBits, WeightBits, AccumulatorBits, Pe>(
            values, weights, at.cycle.index, start, fold, at.beat.index == 0, accumulator);
    if (at.advance()) out.write(sums);
  }
}

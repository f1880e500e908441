// Zero insertion: pixels of an image at marked rows and columns, a constant between them.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "stride_axis.hpp"

template <int Lanes, int Bits, unsigned long long Fill, typename RowAxis, typename ColumnAxis,
          int Beats>
void stream_zero_insertion(hls::stream<ap_uint<Lanes * Bits> > &in,
                           hls::stream<ap_uint<Lanes * Bits> > &out) {
  ap_uint<Lanes * Bits> fill;
  for (int lane = 0; lane < Lanes; ++lane) {
#pragma HLS UNROLL
    fill.range((lane + 1) * Bits - 1, lane * Bits) = ap_uint<Bits>(Fill);
  }
  RowAxis row;
  ColumnAxis column;
  StrideAxis<Beats, 0, Beats - 1, 1> beat;
  for (int i = 0; i < RowAxis::kSize * ColumnAxis::kSize * Beats; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    if (row.marked() && column.marked()) {
      out.write(in.read());
    } else {
      out.write(fill);
    }
    if (beat.advance() && column.advance()) row.advance();
  }
}

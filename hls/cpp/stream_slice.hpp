// Slicing: passes the beats of marked rows, columns and beats of a pixel on and drops the others.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "stride_axis.hpp"

template <int Width, typename RowAxis, typename ColumnAxis, typename BeatAxis>
void stream_slice(hls::stream<ap_uint<Width> > &in, hls::stream<ap_uint<Width> > &out) {
  RowAxis row;
  ColumnAxis column;
  BeatAxis beat;
  for (int i = 0; i < RowAxis::kSize * ColumnAxis::kSize * BeatAxis::kSize; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    const ap_uint<Width> word = in.read();
    if (row.marked() && column.marked() && beat.marked()) out.write(word);
    if (beat.advance() && column.advance()) row.advance();
  }
}

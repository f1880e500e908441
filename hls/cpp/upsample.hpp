// Nearest-neighbour upsampling: each pixel ScaleColumns times in a row, each row ScaleRows times.
//
// A row is kept in a buffer while it is read for the first time, and taken from there afterwards.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "loop_index.hpp"

template <int Rows, int Columns, int PixelBeats, int ScaleRows, int ScaleColumns, int Lanes,
          int Bits>
void upsample(hls::stream<ap_uint<Lanes * Bits> > &in, hls::stream<ap_uint<Lanes * Bits> > &out) {
  ap_uint<Lanes * Bits> buffer[Columns * PixelBeats];
#pragma HLS BIND_STORAGE variable=buffer type=ram_2p
  LoopIndex<PixelBeats> beat;
  LoopIndex<ScaleColumns> copy;
  LoopIndex<Columns> column;
  LoopIndex<ScaleRows> repetition;
  int pixel = 0;  // the address of its first beat
  for (int i = 0; i < Rows * ScaleRows * Columns * ScaleColumns * PixelBeats; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    const int address = pixel + beat.index;
    ap_uint<Lanes * Bits> value;
    if (copy.index == 0 && repetition.index == 0) {
      value = in.read();
      buffer[address] = value;
    } else {
      value = buffer[address];
    }
    out.write(value);
    if (beat.advance() && copy.advance()) {
      pixel = column.last() ? 0 : pixel + PixelBeats;
      if (column.advance()) repetition.advance();
    }
  }
}

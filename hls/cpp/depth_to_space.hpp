// Depth to space: blocks of channels become blocks of pixels.
//
// A row of the input is written into one half of a buffer while the other half is read as Block
// rows of the output. Within a row the beats of the input are at (pixel, i, j, group), or in CRD
// order at (pixel, group, i, j), of which the output wants (i, pixel, j, group).
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "stride_axis.hpp"

// In CRD order, a group of Lanes output channels stands in Block^2 beats, lanes mixed: one beat for
// each pixel of the block instead.
template <int Area, int Lanes, int Bits>
ap_uint<Area * Lanes * Bits> sorted_lanes(const ap_uint<Area * Lanes * Bits> &group) {
#pragma HLS INLINE
  ap_uint<Area * Lanes * Bits> sorted;
  for (int pixel = 0; pixel < Area; ++pixel) {
    for (int lane = 0; lane < Lanes; ++lane) {
#pragma HLS UNROLL
      const int to = (pixel * Lanes + lane) * Bits, from = (lane * Area + pixel) * Bits;
      sorted.range(to + Bits - 1, to) = group.range(from + Bits - 1, from);
    }
  }
  return sorted;
}

// Crd is 0 for the DCR order of input channels and 1 for CRD; Groups are the beats of an output
// pixel.
template <int Crd, int Rows, int Columns, int Groups, int Block, int Lanes, int Bits>
void depth_to_space(hls::stream<ap_uint<Lanes * Bits> > &in,
                    hls::stream<ap_uint<Lanes * Bits> > &out) {
  const int kWidth = Lanes * Bits, kArea = Block * Block, kRowBeats = Columns * kArea * Groups;
  const int kBeats = Rows * kRowBeats;
  const int kGroupStep = Crd ? kArea : 1;
  const int kAcrossStep = Crd ? 1 : Groups;
  const int kDownStep = Crd ? Block : Block * Groups;
  const int kPixelStep = kArea * Groups;

  ap_uint<kWidth> buffer[2 * kRowBeats];
#pragma HLS DEPENDENCE variable=buffer type=inter false
  ap_uint<kArea * kWidth> gathered = 0, sorted = 0;
  int part = 0, write = 0, half = 0;
  StrideAxis<Block, 0, 0, 1> down;
  StrideAxis<Columns, 0, 0, 1> pixel;
  StrideAxis<Block, 0, 0, 1> across;
  StrideAxis<Groups, 0, 0, 1> group;
  // A beat is sorted kArea steps after it was read, and written to the output a row later.
  for (int i = 0; i < kBeats + kArea + kRowBeats; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    if (i >= kArea + kRowBeats) {
      const int address = half + group.position * kGroupStep + across.position * kAcrossStep +
                          down.position * kDownStep + pixel.position * kPixelStep;
      out.write(buffer[address]);
      if (group.advance() && across.advance() && pixel.advance() && down.advance()) {
        half = half == 0 ? kRowBeats : 0;
      }
    }
    if (i >= kArea && i < kArea + kBeats) {
      buffer[write] = ap_uint<kWidth>(sorted);
      write = write == 2 * kRowBeats - 1 ? 0 : write + 1;
    }
    sorted >>= kWidth;
    gathered >>= kWidth;
    if (i < kBeats) gathered.range(kArea * kWidth - 1, (kArea - 1) * kWidth) = in.read();
    if (part == kArea - 1) sorted = Crd ? sorted_lanes<kArea, Lanes, Bits>(gathered) : gathered;
    part = part == kArea - 1 ? 0 : part + 1;
  }
}

// Pooling: the largest or the sum of each lane over the positions of a window.
// One beat leaves for each window.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"

// Sum is 0 for the largest and 1 for the sum.
template <int Sum, int Windows, int Positions, int Lanes, int InputBits, int OutputBits>
void pooling(hls::stream<ap_uint<Lanes * InputBits> > &in,
             hls::stream<ap_uint<Lanes * OutputBits> > &out) {
  ap_uint<Lanes * OutputBits> pooled = 0;
  int position = 0;
  for (int i = 0; i < Windows * Positions; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    const ap_uint<Lanes * InputBits> values = in.read();
    for (int lane = 0; lane < Lanes; ++lane) {
#pragma HLS UNROLL
      const int low = lane * OutputBits, high = low + OutputBits - 1;
      const ap_uint<OutputBits> value =
          values.range((lane + 1) * InputBits - 1, lane * InputBits);
      const ap_uint<OutputBits> before =
          position == 0 ? ap_uint<OutputBits>(0) : ap_uint<OutputBits>(pooled.range(high, low));
      if (Sum) {
        pooled.range(high, low) = before + value;
      } else {
        pooled.range(high, low) = value > before ? value : before;
      }
    }
    if (position == Positions - 1) out.write(pooled);
    position = position == Positions - 1 ? 0 : position + 1;
  }
}

// Global pooling: the maximum or the sum of each channel over the Positions of a frame.
//
// A position is Folds beats of Lanes channels, lane 0 in the low bits. The results so far stand in a
// memory of Folds words; they leave while the last position arrives.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"

template <int Maximum, int Positions, int Folds, int Lanes, int InputBits, int OutputBits>
void global_pooling(hls::stream<ap_uint<Lanes * InputBits> > &in,
                    hls::stream<ap_uint<Lanes * OutputBits> > &out) {
  ap_uint<Lanes * OutputBits> memory[Folds];
#pragma HLS BIND_STORAGE variable=memory type=ram_2p

  for (int position = 0; position < Positions; ++position) {
    for (int fold = 0; fold < Folds; ++fold) {
#pragma HLS LOOP_FLATTEN
#pragma HLS PIPELINE II=1 style=flp
      const ap_uint<Lanes * InputBits> values = in.read();
      const ap_uint<Lanes * OutputBits> before = memory[fold];
      ap_uint<Lanes * OutputBits> results;
      for (int lane = 0; lane < Lanes; ++lane) {
#pragma HLS UNROLL
        const ap_uint<OutputBits> value = values.range((lane + 1) * InputBits - 1, lane * InputBits);
        ap_uint<OutputBits> result = before.range((lane + 1) * OutputBits - 1, lane * OutputBits);
        if (position == 0) {
          result = value;
        } else if (Maximum == 0) {
          result += value;
        } else if (value > result) {
          result = value;
        }
        results.range((lane + 1) * OutputBits - 1, lane * OutputBits) = result;
      }
      memory[fold] = results;
      if (position == Positions - 1) out.write(results);
    }
  }
}

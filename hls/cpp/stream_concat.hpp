// Concatenation: for each vector, all beats of the first input, then all of the second, ...
#pragma once

#include "ap_int.h"
#include "hls_stream.h"

// An input: beats of a vector, bits of a lane.
template <int Beats, int Bits>
struct ConcatInput {
  static const int kBeats = Beats;
  static const int kBits = Bits;
};

// The next beat of input number `select`, each lane padded to OutputBits.
template <int Lanes, int OutputBits>
ap_uint<Lanes * OutputBits> read_selected(int) {
#pragma HLS INLINE
  return 0;
}

template <int Lanes, int OutputBits, int Width, typename... Rest>
ap_uint<Lanes * OutputBits> read_selected(int select, hls::stream<ap_uint<Width> > &in,
                                          Rest &...rest) {
#pragma HLS INLINE
  if (select > 0) return read_selected<Lanes, OutputBits>(select - 1, rest...);
  const int kBits = Width / Lanes;
  const ap_uint<Width> word = in.read();
  ap_uint<Lanes * OutputBits> padded;
  for (int lane = 0; lane < Lanes; ++lane) {
#pragma HLS UNROLL
    padded.range((lane + 1) * OutputBits - 1, lane * OutputBits) =
        ap_uint<OutputBits>(word.range((lane + 1) * kBits - 1, lane * kBits));
  }
  return padded;
}

template <int Vectors, int Lanes, int OutputBits, typename... Inputs>
void stream_concat(hls::stream<ap_uint<Lanes * Inputs::kBits> > &...in,
                   hls::stream<ap_uint<Lanes * OutputBits> > &out) {
  const int kInputs = sizeof...(Inputs);
  const int kBeats[kInputs] = {Inputs::kBeats...};
  int total = 0;
  for (int i = 0; i < kInputs; ++i) total += kBeats[i];
  int select = 0, beat = 0;
  for (int i = 0; i < Vectors * total; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    out.write(read_selected<Lanes, OutputBits>(select, in...));
    const bool last = beat == kBeats[select] - 1;
    beat = last ? 0 : beat + 1;
    if (last) select = select == kInputs - 1 ? 0 : select + 1;
  }
}

// Width converter: the same elements in the same order with another number of lanes in each beat.
// One of the two lane counts divides the other.
#pragma once

#include <type_traits>

#include "ap_int.h"
#include "hls_stream.h"

// Wide beats to narrow beats, low lanes first.
template <int OutputBeats, int InputWidth, int OutputWidth>
void convert(hls::stream<ap_uint<InputWidth> > &in, hls::stream<ap_uint<OutputWidth> > &out,
             std::true_type /*narrowing*/) {
#pragma HLS INLINE
  ap_uint<InputWidth> word = 0;
  int part = 0;
  for (int i = 0; i < OutputBeats; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    if (part == 0) word = in.read();
    out.write(ap_uint<OutputWidth>(word));
    word >>= OutputWidth % InputWidth;
    part = part == InputWidth / OutputWidth - 1 ? 0 : part + 1;
  }
}

// Narrow beats to wide beats: they are shifted in from the top, the first ends up in the low lanes.
template <int OutputBeats, int InputWidth, int OutputWidth>
void convert(hls::stream<ap_uint<InputWidth> > &in, hls::stream<ap_uint<OutputWidth> > &out,
             std::false_type /*narrowing*/) {
#pragma HLS INLINE
  const int kParts = OutputWidth / InputWidth;
  ap_uint<OutputWidth> word = 0;
  int part = 0;
  for (int i = 0; i < OutputBeats * kParts; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    word >>= InputWidth;
    word.range(OutputWidth - 1, OutputWidth - InputWidth) = in.read();
    if (part == kParts - 1) out.write(word);
    part = part == kParts - 1 ? 0 : part + 1;
  }
}

template <int Elements, int InputLanes, int OutputLanes, int Bits>
void width_converter(hls::stream<ap_uint<InputLanes * Bits> > &in,
                     hls::stream<ap_uint<OutputLanes * Bits> > &out) {
  static_assert(Elements % InputLanes == 0 && Elements % OutputLanes == 0,
                "lanes must divide the elements");
  static_assert(InputLanes % OutputLanes == 0 || OutputLanes % InputLanes == 0,
                "one lane count must divide the other");
  convert<Elements / OutputLanes>(in, out,
                                  std::integral_constant<bool, (InputLanes >= OutputLanes)>());
}

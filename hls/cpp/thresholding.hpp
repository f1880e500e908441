// Thresholding: out = number of thresholds of the channel that do not exceed v, where v is the
// input, or 2^InputBits - 1 - input for a falling channel.
//
// A binary search with one memory for each of its stages and lanes, so that all stages work in the
// same cycle on successive values. Stage s has 2^s words for each fold; the channel of lane l in
// fold f is f*Pe + l.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"

template <int Folds, int InputBits, int CountBits>
ap_uint<CountBits> descend(ap_uint<InputBits>, int, int, ap_uint<CountBits> path) {
#pragma HLS INLINE
  return path;
}

// `path` holds the bits of the count that the earlier stages have decided.
template <int Folds, int InputBits, int CountBits, typename Threshold, int Pe, int Depth,
          typename... Stages>
ap_uint<CountBits> descend(ap_uint<InputBits> value, int lane, int fold, ap_uint<CountBits> path,
                           const Threshold (&stage)[Pe][Depth], const Stages &...deeper) {
#pragma HLS INLINE
#pragma HLS ARRAY_PARTITION variable=stage type=complete dim=1
  // One bit more than the input: 2^InputBits is the threshold that nothing reaches.
  const int address = fold * (Depth / Folds) + int(path);
  const ap_uint<InputBits + 1> threshold = stage[lane][address];
  const ap_uint<CountBits> next = (path << 1) | ap_uint<1>(value >= threshold);
  return descend<Folds, InputBits, CountBits>(value, lane, fold, next, deeper...);
}

// ThresholdFolds is 1 where all channels share their thresholds, else Channels / Pe; the same goes
// for FallingFolds.
template <int Channels, int Pe, int InputBits, int CountBits, int Vectors, int ThresholdFolds,
          int FallingFolds, typename... Stages>
void thresholding(hls::stream<ap_uint<Pe * InputBits> > &in,
                  hls::stream<ap_uint<Pe * CountBits> > &out,
                  const bool (&falling)[Pe][FallingFolds], const Stages &...stages) {
#pragma HLS ARRAY_PARTITION variable=falling type=complete dim=1
  static_assert(Channels % Pe == 0, "lanes must divide the channels");
  static_assert(sizeof...(Stages) == CountBits, "one stage decides one bit of the count");
  int fold = 0;
  for (int i = 0; i < Vectors * (Channels / Pe); ++i) {
#pragma HLS PIPELINE II=1 style=flp
    const ap_uint<Pe * InputBits> values = in.read();
    ap_uint<Pe * CountBits> counts;
    for (int lane = 0; lane < Pe; ++lane) {
#pragma HLS UNROLL
      ap_uint<InputBits> value = values.range((lane + 1) * InputBits - 1, lane * InputBits);
      if (falling[lane][FallingFolds == 1 ? 0 : fold]) value = ~value;
      counts.range((lane + 1) * CountBits - 1, lane * CountBits) =
          descend<ThresholdFolds, InputBits, CountBits>(
              value, lane, ThresholdFolds == 1 ? 0 : fold, ap_uint<CountBits>(0), stages...);
    }
    out.write(counts);
    fold = fold == Channels / Pe - 1 ? 0 : fold + 1;
  }
}

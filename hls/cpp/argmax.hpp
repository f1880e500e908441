// Index of the largest scale[c] * in[c] + offset[c]; the lowest index wins a tie.
// One beat with a single index leaves for each frame.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"

// Scale and offset are not negative; ScoreBits holds every score. Channel c is at
// [c / Lanes][c % Lanes].
template <int Channels, int Lanes, int InputBits, int ScoreBits, int IndexBits, typename Scale,
          typename Offset>
void argmax(hls::stream<ap_uint<Lanes * InputBits> > &in, hls::stream<ap_uint<IndexBits> > &out,
            const Scale (&scale)[Channels / Lanes][Lanes],
            const Offset (&offset)[Channels / Lanes][Lanes]) {
#pragma HLS ARRAY_RESHAPE variable=scale type=complete dim=2
#pragma HLS ARRAY_RESHAPE variable=offset type=complete dim=2
  static_assert(Channels % Lanes == 0, "lanes must divide the channels");
  ap_uint<ScoreBits> best = 0;
  ap_uint<IndexBits> best_index = 0;
  for (int fold = 0; fold < Channels / Lanes; ++fold) {
#pragma HLS PIPELINE II=1 style=flp
    const ap_uint<Lanes * InputBits> values = in.read();
    // The best of the beat first, so that the loop-carried path is a single comparison.
    ap_uint<ScoreBits> beat_best = 0;
    int beat_lane = 0;
    for (int lane = 0; lane < Lanes; ++lane) {
#pragma HLS UNROLL
      const ap_uint<InputBits> count = values.range((lane + 1) * InputBits - 1, lane * InputBits);
      const ap_uint<ScoreBits> score = count * ap_uint<ScoreBits>(scale[fold][lane]) +
                                       ap_uint<ScoreBits>(offset[fold][lane]);
      if (lane == 0 || score > beat_best) {
        beat_best = score;
        beat_lane = lane;
      }
    }
    if (fold == 0 || beat_best > best) {
      best = beat_best;
      best_index = fold * Lanes + beat_lane;
    }
  }
  out.write(best_index);
}

// Fork: every beat to several streams.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"

template <typename Word, typename Output, typename... Rest>
void write_all(const Word &word, Output &out, Rest &...rest) {
#pragma HLS INLINE
  out.write(word);
  write_all(word, rest...);
}

template <typename Word>
void write_all(const Word &) {
#pragma HLS INLINE
}

template <int Beats, int Width, typename... Outputs>
void stream_fork(hls::stream<ap_uint<Width> > &in, Outputs &...outputs) {
  for (int i = 0; i < Beats; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    write_all(in.read(), outputs...);
  }
}

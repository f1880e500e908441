// Between AXI4-Stream ports, whose TDATA is padded to whole bytes, and the streams of the layers.
#pragma once

#include "ap_axi_sdata.h"
#include "ap_int.h"
#include "hls_stream.h"

// The beat of an AXI4-Stream that carries Width bits.
template <int Width>
using AxiBeat = ap_axiu<(Width + 7) / 8 * 8, 0, 0, 0>;

template <int Beats, int Width>
void from_axi_stream(hls::stream<AxiBeat<Width> > &in, hls::stream<ap_uint<Width> > &out) {
  for (int i = 0; i < Beats; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    out.write(ap_uint<Width>(in.read().data));
  }
}

// TLAST marks the last beat of a frame.
template <int Beats, int Width>
void to_axi_stream(hls::stream<ap_uint<Width> > &in, hls::stream<AxiBeat<Width> > &out) {
  for (int i = 0; i < Beats; ++i) {
#pragma HLS PIPELINE II=1 style=flp
    AxiBeat<Width> beat;
    beat.data = in.read();
    beat.keep = -1;
    beat.strb = -1;
    beat.last = i == Beats - 1;
    out.write(beat);
  }
}

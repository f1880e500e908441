// Elementwise sum and product: (Product*l*r + left*l + right*r + start) mod 2^OutputBits.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"

// The constants are at [channel / Lanes][channel % Lanes], or in a single row where they are the
// same for all channels.
template <int Channels, int Lanes, int LeftBits, int RightBits, int OutputBits, long long Product,
          int Vectors, typename LeftFactor, typename RightFactor, typename Start, int LeftRows,
          int RightRows, int StartRows>
void elementwise(hls::stream<ap_uint<Lanes * LeftBits> > &left_in,
                 hls::stream<ap_uint<Lanes * RightBits> > &right_in,
                 hls::stream<ap_uint<Lanes * OutputBits> > &out,
                 const LeftFactor (&left)[LeftRows][Lanes],
                 const RightFactor (&right)[RightRows][Lanes],
                 const Start (&start)[StartRows][Lanes]) {
#pragma HLS ARRAY_RESHAPE variable=left type=complete dim=2
#pragma HLS ARRAY_RESHAPE variable=right type=complete dim=2
#pragma HLS ARRAY_RESHAPE variable=start type=complete dim=2
  static_assert(Channels % Lanes == 0, "lanes must divide the channels");
  typedef ap_int<OutputBits> Term;  // wraps, which is exact modulo 2^OutputBits
  int row = 0;
  for (int i = 0; i < Vectors * (Channels / Lanes); ++i) {
#pragma HLS PIPELINE II=1 style=flp
    const ap_uint<Lanes * LeftBits> lefts = left_in.read();
    const ap_uint<Lanes * RightBits> rights = right_in.read();
    ap_uint<Lanes * OutputBits> sums;
    for (int lane = 0; lane < Lanes; ++lane) {
#pragma HLS UNROLL
      const ap_uint<LeftBits> l = lefts.range((lane + 1) * LeftBits - 1, lane * LeftBits);
      const ap_uint<RightBits> r = rights.range((lane + 1) * RightBits - 1, lane * RightBits);
      Term sum = start[StartRows == 1 ? 0 : row][lane];
      sum += Term(l * Term(left[LeftRows == 1 ? 0 : row][lane]));
      sum += Term(r * Term(right[RightRows == 1 ? 0 : row][lane]));
      if (Product != 0) sum += Term(l * r * Term(Product));
      sums.range((lane + 1) * OutputBits - 1, lane * OutputBits) = ap_uint<OutputBits>(sum);
    }
    out.write(sums);
    row = row == Channels / Lanes - 1 ? 0 : row + 1;
  }
}

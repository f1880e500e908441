// Stand-in for Vitis HLS's ap_axi_sdata.h, for simulation with an ordinary compiler only: the
// AXI4-Stream beat without TUSER, TID and TDEST.
#pragma once

#include "ap_int.h"

template <int DataBits, int UserBits, int IdBits, int DestBits>
struct ap_axiu {
  static_assert(DataBits % 8 == 0, "TDATA must be whole bytes");
  static_assert(UserBits == 0 && IdBits == 0 && DestBits == 0, "side channels are not modelled");
  ap_uint<DataBits> data;
  ap_uint<DataBits / 8> keep;
  ap_uint<DataBits / 8> strb;
  ap_uint<1> last;
};

// Products of coded weights and unsigned inputs: the lanes of a multiply-accumulate array.
#pragma once

#include "ap_int.h"

// A weight is WeightBits wide in two's complement.
template <int WeightBits, int InputBits>
struct SignedProduct {
  typedef ap_int<WeightBits + InputBits> Result;
  static Result multiply(ap_uint<WeightBits> weight, ap_uint<InputBits> value) {
#pragma HLS INLINE
    return ap_int<WeightBits>(weight) * value;
  }
};

// A weight bit b stands for 2b - 1.
template <int WeightBits, int InputBits>
struct SignProduct {
  static_assert(WeightBits == 1, "a sign is one bit");
  typedef ap_int<InputBits + 1> Result;
  static Result multiply(ap_uint<1> weight, ap_uint<InputBits> value) {
#pragma HLS INLINE
    return weight == 1 ? Result(value) : Result(-value);
  }
};

// The same for one-bit inputs: 2*b*u - u = xnor(b, u) - (1 - b), so the popcount of the XNORs is the
// dot product once the number of weights -1 has been taken off the start value.
template <int WeightBits, int InputBits>
struct XnorProduct {
  static_assert(WeightBits == 1 && InputBits == 1, "XNOR needs one-bit weights and inputs");
  typedef ap_uint<1> Result;
  static Result multiply(ap_uint<1> weight, ap_uint<1> value) {
#pragma HLS INLINE
    return ~(weight ^ value);
  }
};

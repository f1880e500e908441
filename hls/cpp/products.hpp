// Products of coded weights and unsigned inputs, for the matrix-vector and depthwise vector units.
#pragma once

#include "ap_int.h"

// Bits that hold the numbers 0 .. count.
constexpr int bits_for(int count) { return count == 0 ? 0 : 1 + bits_for(count >> 1); }

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

// The pixel after (row, column) of an image, row by row and round again.
template <int Rows, int Columns>
void next_pixel(int &row, int &column) {
#pragma HLS INLINE
  if (column < Columns - 1) {
    ++column;
    return;
  }
  column = 0;
  row = row == Rows - 1 ? 0 : row + 1;
}

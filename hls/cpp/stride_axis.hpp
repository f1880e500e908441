// Counts 0 .. Size - 1 again and again, and marks First, First + Step, ..., Last.
#pragma once

template <int Size, int First, int Last, int Step>
struct StrideAxis {
  static const int kSize = Size;
  int position = 0;
  int next = First;  // the next position to be marked

  bool marked() const { return position == next; }

  // Returns whether the position was the last one.
  bool advance() {
#pragma HLS INLINE
    if (marked()) next = next == Last ? First : next + Step;
    const bool last = position == Size - 1;
    position = last ? 0 : position + 1;
    return last;
  }
};

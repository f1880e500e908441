// The index of one of several nested loops that are run through as one: 0 .. Count - 1 in a circle.
#pragma once

template <int Count>
struct LoopIndex {
  int index = 0;

  bool last() const { return index == Count - 1; }

  // Goes on by one; returns whether that was the end of the loop.
  bool advance() {
#pragma HLS INLINE
    const bool end = last();
    index = end ? 0 : index + 1;
    return end;
  }
};

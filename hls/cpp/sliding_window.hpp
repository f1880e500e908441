// Sliding window: the windows of an image, padding included, one beat per cycle.
//
// Pixels are written round and round a line buffer of `Pixels` pixels, which is read in this order:
// rows of windows, windows, blocks of channels, kernel rows, kernel columns, beats of a block. Taps
// outside the image give Fill in every lane and are not stored. From tap to tap, constants are
// added to the position in the stream, negative ones or gaps between rows being padding, and to the
// address, modulo the size of the buffer. Each call takes and gives one frame.
#pragma once

#include "ap_int.h"
#include "hls_stream.h"
#include "loop_index.hpp"

constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int smaller(int a, int b) { return a < b ? a : b; }
// A step of an address in a ring of so many words.
constexpr int ring_step(int step, int words) { return (step % words + words) % words; }

template <int Rows, int Columns, int Blocks, int BlockBeats, int KernelRows, int KernelColumns,
          int StrideRows, int StrideColumns, int DilationRows, int DilationColumns, int PadTop,
          int PadLeft, int PadBottom, int PadRight, int Lanes, int Bits, unsigned Fill, int Pixels>
void sliding_window(hls::stream<ap_uint<Lanes * Bits> > &in,
                    hls::stream<ap_uint<Lanes * Bits> > &out) {
  const int kBeats = Blocks * BlockBeats;  // of a pixel
  const int kWords = Pixels * kBeats;
  // From the first to the last tap of a window, and the number of windows.
  const int kTapRows = (KernelRows - 1) * DilationRows;
  const int kTapColumns = (KernelColumns - 1) * DilationColumns;
  const int kTapPixels = kTapRows * Columns + kTapColumns;
  const int kWindowRows = (Rows + PadTop + PadBottom - kTapRows - 1) / StrideRows + 1;
  const int kWindowColumns = (Columns + PadLeft + PadRight - kTapColumns - 1) / StrideColumns + 1;
  // Windows that free pixels when they end: see hls/layers/parts/window_plan.py.
  const int kFirstRow = PadTop / StrideRows, kFirstColumn = PadLeft / StrideColumns;
  const int kLaterRows = larger(0, kWindowRows - kFirstRow);
  const int kFreeingRows =
      (kLaterRows - 1) * StrideRows < Rows ? kLaterRows : Rows / StrideRows;
  const int kFreeingColumns =
      larger(0, smaller(kWindowColumns - 1 - kFirstColumn, Columns / StrideColumns));
  const int kLastRow = kFirstRow + kFreeingRows, kLastColumn = kFirstColumn + kFreeingColumns;
  // Steps of the position from tap to tap, row to row, block to block, window to window, and row
  // of windows to row of windows; the last tap of a block lies kBlockBack words behind its first.
  const int kToRow = DilationRows * Columns - kTapColumns;
  const int kToWindow = StrideColumns - kTapPixels;
  const int kToWindowRow = StrideRows * Columns - (kWindowColumns - 1) * StrideColumns - kTapPixels;
  const int kBlockBack = BlockBeats - 1, kPixelBack = kBeats - 1;

  ap_uint<Lanes * Bits> buffer[kWords];
#pragma HLS BIND_STORAGE variable=buffer type=ram_2p
  ap_uint<Lanes * Bits> padding;
  for (int lane = 0; lane < Lanes; ++lane) {
#pragma HLS UNROLL
    padding.range((lane + 1) * Bits - 1, lane * Bits) = Fill;
  }

  LoopIndex<kWords> write;
  LoopIndex<kBeats> pixel_beat;
  int written = 0;  // whole pixels
  int oldest = -(PadTop % StrideRows) * Columns - PadLeft % StrideColumns;

  LoopIndex<BlockBeats> beat;
  LoopIndex<KernelColumns> tap_column;
  LoopIndex<KernelRows> tap_row;
  LoopIndex<Blocks> block;
  LoopIndex<kWindowColumns> window_column;
  LoopIndex<kWindowRows> window_row;
  int row = -PadTop, column = -PadLeft, position = -PadTop * Columns - PadLeft;
  int read = ring_step(position * kBeats, kWords);
  bool reading = true;

  while (reading || written < Rows * Columns) {
#pragma HLS PIPELINE II=1 style=flp
    const bool inside = row >= 0 && row < Rows && column >= 0 && column < Columns;
    const bool give = reading && (!inside || position < written);
    const bool take = written < Rows * Columns && written - oldest < Pixels;

    if (give) {
      out.write(inside ? buffer[read] : padding);
      int step = ring_step(1, kWords);
      if (beat.advance()) {
        if (!tap_column.advance()) {
          step = ring_step(DilationColumns * kBeats - kBlockBack, kWords);
          position += DilationColumns;
          column += DilationColumns;
        } else if (!tap_row.advance()) {
          step = ring_step(kToRow * kBeats - kBlockBack, kWords);
          position += kToRow;
          row += DilationRows;
          column -= kTapColumns;
        } else if (!block.advance()) {
          step = ring_step(1 - kTapPixels * kBeats, kWords);
          position -= kTapPixels;
          row -= kTapRows;
          column -= kTapColumns;
        } else {
          const bool row_frees = window_row.index >= kFirstRow && window_row.index < kLastRow;
          const bool column_frees =
              window_column.index >= kFirstColumn && window_column.index < kLastColumn;
          if (!window_column.advance()) {
            step = ring_step(kToWindow * kBeats - kPixelBack, kWords);
            position += kToWindow;
            row -= kTapRows;
            column += StrideColumns - kTapColumns;
            if (row_frees && column_frees) oldest += StrideColumns;
          } else {
            step = ring_step(kToWindowRow * kBeats - kPixelBack, kWords);
            position += kToWindowRow;
            row += StrideRows - kTapRows;
            column = -PadLeft;
            if (row_frees) oldest += StrideRows * Columns - kFreeingColumns * StrideColumns;
            if (window_row.advance()) {
              reading = false;
              oldest = Rows * Columns;  // what no window needs is taken from the input as well
            }
          }
        }
      }
      read = read + step < kWords ? read + step : read + step - kWords;
    }

    if (take) {
      buffer[write.index] = in.read();
      write.advance();
      if (pixel_beat.advance()) ++written;
    }
  }
}

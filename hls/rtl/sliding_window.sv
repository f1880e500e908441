// Sliding window: the windows of an image, padding included, one beat per cycle.
//
// The image's pixels (Blocks * BlockBeats beats each) go through a line buffer, which is read in
// this order: rows of windows, windows, blocks of channels, kernel rows, kernel columns, beats of a
// block. Taps outside the image give Fill and are not stored.
//
// Positions are numbers of pixels in the stream, negative ones or gaps between rows being padding.
// Nothing is multiplied: from tap to tap, constants are added to the position in the stream, to the
// address in the buffer, and to row and column, which tell padding. A pixel is freed, with all
// older ones, by the last window that needs them: within a row of windows a stride of columns at a
// time, with the last window the rest of a stride of rows, with the frame the rest of the image,
// even if it has not arrived yet.
module sliding_window #(
  parameter int unsigned Rows            = 8,
  parameter int unsigned Columns         = 8,
  parameter int unsigned Blocks          = 1,
  parameter int unsigned BlockBeats      = 2,
  parameter int unsigned KernelRows      = 3,
  parameter int unsigned KernelColumns   = 3,
  parameter int unsigned StrideRows      = 1,
  parameter int unsigned StrideColumns   = 1,
  parameter int unsigned DilationRows    = 1,
  parameter int unsigned DilationColumns = 1,
  parameter int unsigned PadTop          = 1,
  parameter int unsigned PadLeft         = 1,
  parameter int unsigned PadBottom       = 1,
  parameter int unsigned PadRight        = 1,
  parameter int unsigned Lanes           = 2,
  parameter int unsigned Bits            = 4,
  parameter int unsigned Fill            = 0,
  parameter int unsigned Pixels          = 19,
  parameter int unsigned CountBits       = 8   // of numbers of pixels in the line buffer, signed
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  in_valid_i,
  output logic                  in_ready_o,
  input  logic [Lanes*Bits-1:0] in_data_i,
  output logic                  out_valid_o,
  input  logic                  out_ready_i,
  output logic [Lanes*Bits-1:0] out_data_o
);

  localparam int unsigned PixelBeats  = Blocks * BlockBeats;
  localparam int unsigned Words       = Pixels * PixelBeats;
  // Fill is a word of the buffer where that takes less than a multiplexer behind it, unless it
  // would be the first of another row of memories.
  localparam bit          Padded      = PadTop + PadLeft + PadBottom + PadRight > 0;
  localparam bit          FillStored  =
      Padded && Lanes * Bits > $clog2(Words) && Words % 32 != 0;
  localparam int unsigned MemoryWords = FillStored ? Words + 1 : Words;
  localparam int unsigned AddressBits = (MemoryWords > 1) ? $clog2(MemoryWords) : 1;

  // From the first to the last tap of a window, and from the first to the last window.
  localparam int unsigned TapRows       = (KernelRows - 1) * DilationRows;
  localparam int unsigned TapColumns    = (KernelColumns - 1) * DilationColumns;
  localparam int unsigned WindowRows    =
      (Rows + PadTop + PadBottom - TapRows - 1) / StrideRows + 1;
  localparam int unsigned WindowColumns =
      (Columns + PadLeft + PadRight - TapColumns - 1) / StrideColumns + 1;
  localparam int unsigned MovedRows     = (WindowRows - 1) * StrideRows;
  localparam int unsigned MovedColumns  = (WindowColumns - 1) * StrideColumns;
  localparam int unsigned TapPixels     = TapRows * Columns + TapColumns;
  localparam int unsigned MovedPixels   = MovedRows * Columns + MovedColumns;

  // Which windows free pixels, see `WindowPlan`: those whose origin is in the image or less than a
  // stride in front of it, as far as strides fit into the image.
  localparam int unsigned FirstRow    = PadTop / StrideRows;
  localparam int unsigned FirstColumn = PadLeft / StrideColumns;
  localparam int unsigned LaterRows   = (WindowRows > FirstRow) ? WindowRows - FirstRow : 0;
  localparam int unsigned LaterColumns =
      (WindowColumns > FirstColumn) ? WindowColumns - FirstColumn - 1 : 0;
  localparam int unsigned FreeingRows =
      (LaterRows == 0 || (LaterRows - 1) * StrideRows < Rows) ? LaterRows : Rows / StrideRows;
  localparam int unsigned FreeingColumns =
      (LaterColumns < Columns / StrideColumns) ? LaterColumns : Columns / StrideColumns;
  localparam int unsigned FreedInRow = FreeingColumns * StrideColumns;
  // Freed by a frame before its last window: by whole rows, and by the last row if it frees.
  localparam bit          LastRowFrees = FreeingRows > 0 && FreeingRows == LaterRows;
  localparam int unsigned FreedInFrame =
      (LastRowFrees ? FreeingRows - 1 : FreeingRows) * StrideRows * Columns +
      (LastRowFrees ? FreedInRow : 0);

  // Steps in 32 bits, negative ones in two's complement; those of the address modulo Words.
  function automatic int ring(input int step);
    ring = (step % $signed(Words) + $signed(Words)) % $signed(Words);
  endfunction

  // ---- The loops --------------------------------------------------------------------------------
  logic step;  // the reader goes on to the next beat
  logic last_beat, last_tap_column, last_tap_row, last_block, last_column, last_row;
  logic tap_end, tap_row_end, block_end, window_end, window_row_end;
  logic freeing_column, freeing_row;

  assign tap_end        = step && last_beat;
  assign tap_row_end    = tap_end && last_tap_column;
  assign block_end      = tap_row_end && last_tap_row;
  assign window_end     = block_end && last_block;
  assign window_row_end = window_end && last_column;

  frame_counter #(.Beats(BlockBeats)) u_beat (
    .clk_i, .rst_ni, .beat_i(step), .last_o(last_beat)
  );
  frame_counter #(.Beats(KernelColumns)) u_tap_column (
    .clk_i, .rst_ni, .beat_i(tap_end), .last_o(last_tap_column)
  );
  frame_counter #(.Beats(KernelRows)) u_tap_row (
    .clk_i, .rst_ni, .beat_i(tap_row_end), .last_o(last_tap_row)
  );
  frame_counter #(.Beats(Blocks)) u_block (
    .clk_i, .rst_ni, .beat_i(block_end), .last_o(last_block)
  );
  window_counter #(.Count(WindowColumns), .First(FirstColumn), .Length(FreeingColumns)) u_column (
    .clk_i, .rst_ni, .step_i(window_end), .last_o(last_column), .within_o(freeing_column)
  );
  window_counter #(.Count(WindowRows), .First(FirstRow), .Length(FreeingRows)) u_row (
    .clk_i, .rst_ni, .step_i(window_row_end), .last_o(last_row), .within_o(freeing_row)
  );

  // ---- From beat to beat ------------------------------------------------------------------------
  localparam int unsigned RowBits    = $clog2(Rows + PadTop + PadBottom + 1);
  localparam int unsigned ColumnBits = $clog2(Columns + PadLeft + PadRight + 1);

  logic [AddressBits-1:0] address_step;
  logic [CountBits-1:0]   position_step, freed;
  logic [RowBits-1:0]     row_step;
  logic [ColumnBits-1:0]  column_step;

  always_comb begin
    address_step  = AddressBits'(ring(1));
    position_step = '0;
    row_step      = '0;
    column_step   = '0;
    freed         = '0;
    if (!last_beat) begin
      // the next beat of the block
    end else if (!last_tap_column) begin
      address_step  = AddressBits'(ring(DilationColumns * PixelBeats - (BlockBeats - 1)));
      position_step = CountBits'(DilationColumns);
      column_step   = ColumnBits'(DilationColumns);
    end else if (!last_tap_row) begin
      address_step  = AddressBits'(ring((DilationRows * Columns - TapColumns) * PixelBeats -
                                        (BlockBeats - 1)));
      position_step = CountBits'(DilationRows * Columns - TapColumns);
      row_step      = RowBits'(DilationRows);
      column_step   = ColumnBits'(-TapColumns);
    end else if (!last_block) begin
      address_step  = AddressBits'(ring(1 - TapPixels * PixelBeats));
      position_step = CountBits'(-TapPixels);
      row_step      = RowBits'(-TapRows);
      column_step   = ColumnBits'(-TapColumns);
    end else if (!last_column) begin
      address_step  = AddressBits'(ring((StrideColumns - TapPixels) * PixelBeats -
                                        (PixelBeats - 1)));
      position_step = CountBits'(StrideColumns - TapPixels);
      row_step      = RowBits'(-TapRows);
      column_step   = ColumnBits'(StrideColumns - TapColumns);
      freed         = (freeing_row && freeing_column) ? CountBits'(StrideColumns) : '0;
    end else if (!last_row) begin
      address_step  = AddressBits'(ring((StrideRows * Columns - MovedColumns - TapPixels) *
                                        PixelBeats - (PixelBeats - 1)));
      position_step = CountBits'(StrideRows * Columns - MovedColumns - TapPixels);
      row_step      = RowBits'(StrideRows - TapRows);
      column_step   = ColumnBits'(-MovedColumns - TapColumns);
      freed         = freeing_row ? CountBits'(StrideRows * Columns - FreedInRow) : '0;
    end else begin
      address_step  = AddressBits'(ring((Rows * Columns - MovedPixels - TapPixels) * PixelBeats -
                                        (PixelBeats - 1)));
      position_step = CountBits'(Rows * Columns - MovedPixels - TapPixels);
      row_step      = RowBits'(-MovedRows - TapRows);
      column_step   = ColumnBits'(-MovedColumns - TapColumns);
      freed         = CountBits'(Rows * Columns - FreedInFrame);
    end
  end

  // ---- Which taps are padding -------------------------------------------------------------------
  logic row_inside, column_inside, in_image;

  assign in_image = row_inside && column_inside;

  if (PadTop + PadBottom > 0) begin : gen_row
    logic [RowBits-1:0] row_q;  // negative ones are larger than Rows
    assign row_inside = row_q < RowBits'(Rows);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) row_q <= RowBits'(-PadTop);
      else if (step) row_q <= row_q + row_step;
    end
  end else begin : gen_no_row
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = ^row_step;
    /* verilator lint_on UNUSEDSIGNAL */
    assign row_inside = 1'b1;
  end

  if (PadLeft + PadRight > 0) begin : gen_column
    logic [ColumnBits-1:0] column_q;
    assign column_inside = column_q < ColumnBits'(Columns);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) column_q <= ColumnBits'(-PadLeft);
      else if (step) column_q <= column_q + column_step;
    end
  end else begin : gen_no_column
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = ^column_step;
    /* verilator lint_on UNUSEDSIGNAL */
    assign column_inside = 1'b1;
  end

  // ---- The buffer --------------------------------------------------------------------------------
  logic signed [CountBits-1:0] ahead;
  logic                        available;

  // Padding in front of the first pixel waits for it, lest it runs ahead of the input.
  if (PadTop + PadLeft > 0) begin : gen_wait
    logic first_q;  // the next beat is the frame's first
    assign available = first_q ? ahead >= $signed(CountBits'(PadTop * Columns + PadLeft)) :
                                 !(in_image && ahead[CountBits-1]);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) first_q <= 1'b1;
      else if (step) first_q <= window_row_end && last_row;
    end
  end else begin : gen_no_wait
    assign available = !(in_image && ahead[CountBits-1]);
  end

  line_buffer #(
    .Width(Lanes * Bits),
    .Pixels(Pixels),
    .PixelBeats(PixelBeats),
    .AddressBits(AddressBits),
    .CountBits(CountBits),
    .FirstAddress(ring(-(PadTop * Columns + PadLeft) * PixelBeats)),
    .FirstAhead(PadTop * Columns + PadLeft - 1),
    .FirstRoom(Pixels - (PadTop % StrideRows) * Columns - PadLeft % StrideColumns - 1),
    .Padded(Padded),
    .FillStored(FillStored),
    .Fill({Lanes{Bits'(Fill)}})
  ) u_buffer (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .out_valid_o,
    .out_ready_i,
    .out_data_o,
    .step_o(step),
    .ahead_o(ahead),
    .available_i(available),
    .padding_i(!in_image),
    .address_step_i(address_step),
    .position_step_i(position_step),
    .freed_i(freed)
  );

endmodule

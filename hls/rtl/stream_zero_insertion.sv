// Zero insertion: beats of the constant Fill between the pixels of an image.
//
// The output has Rows x Columns pixels of Beats beats each; those at multiples of the strides come
// from the input. The first and the last pixel do, so nothing leaves after a frame.
module stream_zero_insertion #(
  parameter int unsigned             Width        = 8,
  parameter int unsigned             FillWords    = 1,      // 32 bits each
  parameter logic [FillWords*32-1:0] Fill         = 32'd0,
  parameter int unsigned             Rows         = 3,
  parameter int unsigned             Columns      = 3,
  parameter int unsigned             Beats        = 1,
  parameter int unsigned             RowStride    = 2,
  parameter int unsigned             ColumnStride = 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             in_valid_i,
  output logic             in_ready_o,
  input  logic [Width-1:0] in_data_i,
  output logic             out_valid_o,
  input  logic             out_ready_i,
  output logic [Width-1:0] out_data_o
);

  logic give, last_beat, row_marked, column_marked, last_column, from_input;

  assign from_input  = row_marked && column_marked;
  assign out_valid_o = in_valid_i || !from_input;
  assign out_data_o  = from_input ? in_data_i : Width'(Fill);
  assign in_ready_o  = out_ready_i && from_input;
  assign give        = out_valid_o && out_ready_i;

  frame_counter #(.Beats(Beats)) u_beat (.clk_i, .rst_ni, .beat_i(give), .last_o(last_beat));

  stride_counter #(
    .Size(Columns), .First(0), .Last(Columns - 1), .Step(ColumnStride)
  ) u_column (
    .clk_i, .rst_ni, .advance_i(give && last_beat), .marked_o(column_marked), .last_o(last_column)
  );

  /* verilator lint_off PINCONNECTEMPTY */
  stride_counter #(
    .Size(Rows), .First(0), .Last(Rows - 1), .Step(RowStride)
  ) u_row (
    .clk_i, .rst_ni, .advance_i(give && last_beat && last_column), .marked_o(row_marked), .last_o()
  );
  /* verilator lint_on PINCONNECTEMPTY */

endmodule

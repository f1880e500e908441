// Slicing: passes the beats of marked rows, columns and beats of a pixel on and drops the others.
//
// Sizes, Starts, Last and Steps are those of (rows, columns, beats); a dropped beat takes a cycle.
module stream_slice #(
  parameter int unsigned Width  = 8,
  parameter logic [95:0] Sizes  = {32'd1, 32'd4, 32'd4},
  parameter logic [95:0] Starts = {32'd0, 32'd0, 32'd0},
  parameter logic [95:0] Last   = {32'd0, 32'd2, 32'd2},
  parameter logic [95:0] Steps  = {32'd1, 32'd2, 32'd2}
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

  logic [2:0] advance, marked;
  /* verilator lint_off UNUSEDSIGNAL */  // nothing counts frames
  logic [2:0] last;
  /* verilator lint_on UNUSEDSIGNAL */
  logic       keep;

  // Index 2 is the beat of a pixel, 1 the column, 0 the row.
  for (genvar a = 0; a < 3; a++) begin : gen_axis
    if (a == 2) begin : gen_innermost
      assign advance[a] = in_valid_i && in_ready_o;
    end else begin : gen_outer
      assign advance[a] = advance[a+1] && last[a+1];
    end
    stride_counter #(
      .Size(Sizes[32*a+:32]), .First(Starts[32*a+:32]),
      .Last(Last[32*a+:32]), .Step(Steps[32*a+:32])
    ) u_counter (
      .clk_i, .rst_ni, .advance_i(advance[a]), .marked_o(marked[a]), .last_o(last[a])
    );
  end

  assign keep        = &marked;
  assign out_valid_o = in_valid_i && keep;
  assign out_data_o  = in_data_i;
  assign in_ready_o  = out_ready_i || !keep;

endmodule

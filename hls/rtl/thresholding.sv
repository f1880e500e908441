// Thresholding: out = number of thresholds of the channel that the input reaches.
//
// A binary search of OutputBits stages, each deciding one bit of the count, high bit first. Stage s
// has 2**s thresholds per channel in a memory for each lane. A channel marked as falling has its
// decisions inverted: the emitter stores thresholds from high to low for it. One beat per cycle.
//
// Memories: thresholds_SS.mem of stage SS, word {row, bits decided so far}, a threshold per lane,
// lane 0 low; falling.mem (only with Falling = 1), word {row}, one bit per lane. Rows are the
// beats of a vector, or 1 where all channels share their thresholds. Up to 64 words are read
// asynchronously and merge into the comparator's LUTs; larger ones are read into a register, which
// maps to block RAM and takes one more cycle.
module thresholding #(
  parameter int unsigned Rows          = 4,
  parameter int unsigned Pe            = 1,
  parameter int unsigned InputBits     = 8,
  parameter int unsigned ThresholdBits = 8,  // InputBits, or one more where one is never reached
  parameter int unsigned OutputBits    = 2,
  parameter int unsigned Falling       = 0,  // 0 none, 1 those in falling.mem, 2 all
  parameter              MemoryPrefix  = ""
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     in_valid_i,
  output logic                     in_ready_o,
  input  logic [Pe*InputBits-1:0]  in_data_i,
  output logic                     out_valid_o,
  input  logic                     out_ready_i,
  output logic [Pe*OutputBits-1:0] out_data_o
);

  localparam int unsigned RowBits = (Rows > 1) ? $clog2(Rows) : 1;

  logic enable;

  // Stage s takes what stage s - 1 leaves; index 0 is the input.
  /* verilator lint_off UNUSEDSIGNAL */  // only the count leaves the last stage
  logic [OutputBits:0]                    valid;
  logic [OutputBits:0][RowBits-1:0]       row;
  logic [OutputBits:0][Pe-1:0]            falling;
  logic [OutputBits:0][Pe*InputBits-1:0]  operand;
  logic [OutputBits:0][Pe*OutputBits-1:0] count;
  /* verilator lint_on UNUSEDSIGNAL */

  assign valid[0]   = in_valid_i;
  assign operand[0] = in_data_i;
  assign count[0]   = '0;
  assign in_ready_o = enable;

  if (Rows > 1) begin : gen_rows
    // The counter runs one row ahead, so that no logic but the memories hangs on row_q.
    logic [RowBits-1:0] row_q, next_q;
    initial row_q = '0;  // see thresholding_stage
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        row_q  <= '0;
        next_q <= RowBits'(1);
      end else if (enable && in_valid_i) begin
        row_q  <= next_q;
        next_q <= (next_q == RowBits'(Rows - 1)) ? '0 : next_q + 1'b1;
      end
    end
    assign row[0] = row_q;
  end else begin : gen_one_row
    assign row[0] = '0;
  end

  if (Falling == 1) begin : gen_falling
    logic [Pe-1:0] memory [Rows];
    if (MemoryPrefix != "") begin : gen_load
      initial $readmemh({MemoryPrefix, "falling.mem"}, memory);
    end
    assign falling[0] = memory[row[0]];
  end else begin : gen_same_direction
    assign falling[0] = {Pe{Falling == 2}};
  end

  for (genvar s = 0; s < OutputBits; s++) begin : gen_stage
    thresholding_stage #(
      .Rows(Rows), .RowBits(RowBits), .Pe(Pe), .InputBits(InputBits),
      .ThresholdBits(ThresholdBits), .OutputBits(OutputBits), .Stage(s),
      .MemoryPrefix(MemoryPrefix)
    ) u_stage (
      .clk_i, .rst_ni, .enable_i(enable),
      .valid_i(valid[s]), .row_i(row[s]), .falling_i(falling[s]),
      .operand_i(operand[s]), .count_i(count[s]),
      .valid_o(valid[s+1]), .row_o(row[s+1]), .falling_o(falling[s+1]),
      .operand_o(operand[s+1]), .count_o(count[s+1])
    );
  end

  assign enable      = !valid[OutputBits] || out_ready_i;
  assign out_valid_o = valid[OutputBits];
  assign out_data_o  = count[OutputBits];

endmodule

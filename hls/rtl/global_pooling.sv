// Global pooling: the maximum or the sum of each channel over the Positions of a frame.
//
// A beat carries Lanes channels, a position is Folds beats. The results so far stand in a memory of
// Folds words, written by the first position of a frame and read by the others; during the last
// position they leave. A frame takes Positions * Folds cycles, frames follow without a gap.
//
// Pipeline: input register and word read from memory | adder or comparator, output register and
// memory. All of it stands still while an output waits to be taken.
//
// Memory: one write port and one read port into a register, which maps to LUTRAM or block RAM. A
// word is read again after Folds >= 2 cycles, when it has been written; one fold needs no memory.
module global_pooling #(
  parameter int unsigned Positions  = 4,
  parameter int unsigned Folds      = 2,
  parameter int unsigned Lanes      = 2,
  parameter int unsigned InputBits  = 4,
  parameter int unsigned OutputBits = 6,
  parameter int unsigned Maximum    = 0
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic                        in_valid_i,
  output logic                        in_ready_o,
  input  logic [Lanes*InputBits-1:0]  in_data_i,
  output logic                        out_valid_o,
  input  logic                        out_ready_i,
  output logic [Lanes*OutputBits-1:0] out_data_o
);

  localparam int unsigned Width        = Lanes * OutputBits;
  localparam int unsigned FoldBits     = (Folds > 1) ? $clog2(Folds) : 1;
  localparam int unsigned PositionBits = (Positions > 1) ? $clog2(Positions) : 1;

  logic enable, take;
  assign take = enable && in_valid_i;

  // ---- Which fold of which position arrives -----------------------------------------------------
  logic [FoldBits-1:0] fold;
  logic                last_fold, first_position, last_position;

  if (Folds > 1) begin : gen_folds
    logic [FoldBits-1:0] fold_q;
    assign fold      = fold_q;
    assign last_fold = fold_q == FoldBits'(Folds - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) fold_q <= '0;
      else if (take) fold_q <= last_fold ? '0 : fold_q + 1'b1;
    end
  end else begin : gen_one_fold
    assign fold      = '0;
    assign last_fold = 1'b1;
  end

  if (Positions > 1) begin : gen_positions
    logic [PositionBits-1:0] position_q;
    assign first_position = position_q == '0;
    assign last_position  = position_q == PositionBits'(Positions - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) position_q <= '0;
      else if (take && last_fold) position_q <= last_position ? '0 : position_q + 1'b1;
    end
  end else begin : gen_one_position
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = take ^ last_fold;
    /* verilator lint_on UNUSEDSIGNAL */
    assign first_position = 1'b1;
    assign last_position  = 1'b1;
  end

  // ---- Input register, and the result so far ----------------------------------------------------
  logic [Lanes*InputBits-1:0] input_q;
  logic [Width-1:0]           so_far, result;
  logic                       valid_q, first_q, last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (enable) valid_q <= in_valid_i;
  end
  always_ff @(posedge clk_i) begin
    if (enable) begin
      input_q <= in_data_i;
      first_q <= first_position;
      last_q  <= last_position;
    end
  end

  if (Folds > 1 && Positions > 1) begin : gen_memory
    logic [Width-1:0]    memory [Folds];
    logic [Width-1:0]    memory_q;
    logic [FoldBits-1:0] fold_q;
    assign so_far = memory_q;
    always_ff @(posedge clk_i) begin
      if (enable) begin
        fold_q   <= fold;
        memory_q <= memory[fold];
      end
    end
    always_ff @(posedge clk_i) begin
      if (enable && valid_q) memory[fold_q] <= result;
    end
  end else begin : gen_register
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = ^fold;
    /* verilator lint_on UNUSEDSIGNAL */
    assign so_far = out_data_o;
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [OutputBits-1:0] value, base;
    assign value = OutputBits'(input_q[l*InputBits+:InputBits]);
    assign base  = so_far[l*OutputBits+:OutputBits];
    if (Maximum != 0) begin : gen_maximum
      assign result[l*OutputBits+:OutputBits] = (first_q || value > base) ? value : base;
    end else begin : gen_sum
      assign result[l*OutputBits+:OutputBits] = value + (first_q ? '0 : base);
    end
  end

  // ---- Output -----------------------------------------------------------------------------------
  logic out_valid_q;

  assign enable      = !out_valid_q || out_ready_i;
  assign in_ready_o  = enable;
  assign out_valid_o = out_valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_valid_q <= 1'b0;
    else if (enable) out_valid_q <= valid_q && last_q;
  end
  always_ff @(posedge clk_i) begin
    if (enable && valid_q) out_data_o <= result;
  end

endmodule

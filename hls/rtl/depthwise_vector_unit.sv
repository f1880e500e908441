// Depthwise vector unit: out[c] = (start[c] + sum_k weight[c][k] * in[k][c]) mod 2**AccumulatorBits.
//
// Each cycle takes one input of Pe channels and multiplies it with a weight of each; after Positions
// cycles the Pe sums leave, and the next Pe channels follow: a vector takes Channels / Pe *
// Positions cycles, vectors follow each other without a gap.
//
// Products are sums of rows, as in the matrix-vector unit; see there for `Product` and the start
// values.
//
// Pipeline: weight and input registers | rows and their first adders | ... | accumulator, which is
// also the output register. All of it stands still while an output waits to be taken.
//
// Memories: weights.mem, one word per cycle of a vector, or a single one that holds for all,
// {pe, code} with lane 0 low; those of start_values.
module depthwise_vector_unit #(
  parameter int unsigned Channels        = 4,
  parameter int unsigned Positions       = 9,
  parameter int unsigned Pe              = 2,
  parameter int unsigned InputBits       = 2,
  parameter int unsigned WeightBits      = 2,
  parameter int unsigned WeightWords     = 18,  // Channels / Pe * Positions, or 1
  parameter int unsigned AccumulatorBits = 8,
  parameter int unsigned Product         = 1,
  parameter int unsigned ImageRows       = 1,  // this and the next three: see start_values
  parameter int unsigned ImageColumns    = 1,
  parameter int unsigned RowClasses      = 1,
  parameter int unsigned ColumnClasses   = 1,
  parameter              MemoryPrefix    = ""
) (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  input  logic                          in_valid_i,
  output logic                          in_ready_o,
  input  logic [Pe*InputBits-1:0]       in_data_i,
  output logic                          out_valid_o,
  input  logic                          out_ready_i,
  output logic [Pe*AccumulatorBits-1:0] out_data_o
);

  localparam int unsigned WordBits     = Pe * WeightBits;
  localparam int unsigned StartBits    = Pe * AccumulatorBits;
  localparam int unsigned PositionBits = (Positions > 1) ? $clog2(Positions) : 1;

  // Rows of one product, their bits, and the distance of their weights.
  localparam int unsigned Rows = (Product == 2) ? (WeightBits + 1) / 2 :
                                 (Product == 3) ? InputBits : 1;
  localparam int unsigned FullRow = (Product == 2) ? InputBits + 1 :
                                    (Product == 3) ? WeightBits : InputBits;
  localparam int unsigned RowShift = (Product == 2) ? 2 : 1;
  localparam int unsigned RowBits  = (FullRow < AccumulatorBits) ? FullRow : AccumulatorBits;

  localparam int unsigned FullTotal = RowBits + ((Rows > 1) ? RowShift * (Rows - 1) + 1 : 0);
  localparam int unsigned TotalBits = (FullTotal < AccumulatorBits) ? FullTotal : AccumulatorBits;

  // Registers behind the rows.
  localparam int unsigned Stages = (Rows > 1) ? $clog2(Rows) : 1;

  logic enable;

  // ---- Weights and inputs, and which position this is -------------------------------------------
  logic [WordBits-1:0]     weights_q;
  logic [Pe*InputBits-1:0] input_q;
  logic                    first_position, last_position;

  weight_memory #(
    .Words(WeightWords), .Width(WordBits), .MemoryPrefix(MemoryPrefix)
  ) u_weights (
    .clk_i, .rst_ni, .enable_i(enable), .step_i(in_valid_i), .word_o(weights_q)
  );

  always_ff @(posedge clk_i) begin
    if (enable) input_q <= in_data_i;
  end

  if (Positions > 1) begin : gen_positions
    logic [PositionBits-1:0] position_q;
    assign first_position = position_q == '0;
    assign last_position  = position_q == PositionBits'(Positions - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) position_q <= '0;
      else if (enable && in_valid_i) position_q <= last_position ? '0 : position_q + 1'b1;
    end
  end else begin : gen_one_position
    assign first_position = 1'b1;
    assign last_position  = 1'b1;
  end

  // ---- Valid, first and last travel beside the data --------------------------------------------
  logic [Stages:0] valid_q, first_q, last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else if (enable) valid_q <= {valid_q[Stages-1:0], in_valid_i};
  end
  always_ff @(posedge clk_i) begin
    if (enable) begin
      first_q <= {first_q[Stages-1:0], first_position};
      last_q  <= {last_q[Stages-1:0], last_position};
    end
  end

  // ---- Start values, read one stage ahead of the accumulator -----------------------------------
  logic [StartBits-1:0] start_q;

  start_values #(
    .Folds(Channels / Pe), .Width(StartBits), .ImageRows(ImageRows), .ImageColumns(ImageColumns),
    .RowClasses(RowClasses), .ColumnClasses(ColumnClasses), .MemoryPrefix(MemoryPrefix)
  ) u_start (
    .clk_i, .rst_ni,
    .read_i(enable && valid_q[Stages-1] && first_q[Stages-1]), .word_o(start_q)
  );

  // ---- Products and sums ------------------------------------------------------------------------
  for (genvar p = 0; p < Pe; p++) begin : gen_pe
    logic [InputBits-1:0]       operand;
    logic [WeightBits-1:0]      code;
    logic [Rows*RowBits-1:0]    rows;
    logic [TotalBits-1:0]       total;
    logic [AccumulatorBits-1:0] base, accumulator_q;

    assign operand = input_q[p*InputBits+:InputBits];
    assign code    = weights_q[p*WeightBits+:WeightBits];

    for (genvar r = 0; r < Rows; r++) begin : gen_row
      product_row #(
        .InputBits(InputBits), .WeightBits(WeightBits), .RowBits(RowBits),
        .Product(Product), .Row(r)
      ) u_row (
        .input_i(operand), .code_i(code), .row_o(rows[r*RowBits+:RowBits])
      );
    end

    adder_tree #(
      .Leaves(Rows), .Width(RowBits), .Shift(RowShift), .SumBits(TotalBits), .LevelsPerStage(1)
    ) u_tree (
      .clk_i, .enable_i(enable), .leaves_i(rows), .sum_o(total)
    );

    // The product is the first operand, so that the choice of the second one fits into the LUTs of
    // the carry chain.
    assign base = first_q[Stages] ? start_q[p*AccumulatorBits+:AccumulatorBits] : accumulator_q;
    always_ff @(posedge clk_i) begin
      if (enable && valid_q[Stages]) accumulator_q <= AccumulatorBits'(total) + base;
    end
    assign out_data_o[p*AccumulatorBits+:AccumulatorBits] = accumulator_q;
  end

  // ---- Output -----------------------------------------------------------------------------------
  logic out_valid_q;

  assign enable      = !out_valid_q || out_ready_i;
  assign in_ready_o  = enable;
  assign out_valid_o = out_valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_valid_q <= 1'b0;
    else if (enable) out_valid_q <= valid_q[Stages] && last_q[Stages];
  end

endmodule

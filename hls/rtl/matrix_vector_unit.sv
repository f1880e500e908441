// Matrix-vector unit: out[n] = (start[n] + sum_k weight[n][k] * in[g][k]) mod 2**AccumulatorBits.
//
// A vector is `Groups` subvectors of `Inputs` inputs, and subvector g makes Outputs / Groups of the
// outputs. Each cycle takes Simd inputs and multiplies them with Pe x Simd weights: a vector takes
// (Outputs / Pe) * (Inputs / Simd) cycles, vectors follow each other without a gap. A subvector is
// kept in a replay buffer while its outputs pass, Pe at a time.
//
// Products are sums of rows, and all row bits are counted as positive: what a weight's sign adds is
// a constant per output, which the emitter puts into the start value. `Product` names the rows:
//   0 sign     weights +-1, one code bit c (1 for +1): one row, in xnor c
//   1 ternary  weights -1, 0, 1, code {negative, nonzero}: one row, (in & nonzero) ^ negative
//   2 digits   radix-4 Booth digits d of the weight in two's complement: rows (|d| * in) ^ (d < 0)
//              of InputBits + 1 bits, weighted 4**j
//   3 planes   one row (weight & in[j]) with the sign bit inverted for each input bit j
//
// Rows of one bit are counted two (ternary) or three (sign) at a time. Each row bit or count bit is
// a function of at most six bits, and a row's bits (five) still fit into the adder that takes it.
//
// Pipeline: weight and input registers | rows and the first adders | ... | accumulator, which is
// also the output register. All of it stands still while an output waits to be taken.
//
// Memories: weights.mem, one word per cycle of a vector, {pe, simd, code} with lane 0 low; those of
// start_values.
module matrix_vector_unit #(
  parameter int unsigned Outputs         = 4,
  parameter int unsigned Inputs          = 8,  // of a group
  parameter int unsigned Groups          = 1,
  parameter int unsigned Pe              = 2,
  parameter int unsigned Simd            = 4,
  parameter int unsigned InputBits       = 2,
  parameter int unsigned WeightBits      = 2,
  parameter int unsigned AccumulatorBits = 8,
  parameter int unsigned Product         = 1,
  parameter int unsigned LevelsPerStage  = 1,
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
  input  logic [Simd*InputBits-1:0]     in_data_i,
  output logic                          out_valid_o,
  input  logic                          out_ready_i,
  output logic [Pe*AccumulatorBits-1:0] out_data_o
);

  localparam int unsigned Folds      = Outputs / Pe;    // output beats of a vector
  localparam int unsigned Repeats    = Folds / Groups;  // output beats of a subvector
  localparam int unsigned Beats      = Inputs / Simd;   // cycles per output beat
  localparam int unsigned Words      = Folds * Beats;
  localparam int unsigned InputWidth = Simd * InputBits;
  localparam int unsigned WordBits   = Pe * Simd * WeightBits;
  localparam int unsigned StartBits  = Pe * AccumulatorBits;

  localparam int unsigned BeatBits = (Beats > 1) ? $clog2(Beats) : 1;

  // Rows of one product, their bits, and the distance of their weights.
  localparam int unsigned Rows = (Product == 2) ? (WeightBits + 1) / 2 :
                                 (Product == 3) ? InputBits : 1;
  localparam int unsigned FullRow = (Product == 2) ? InputBits + 1 :
                                    (Product == 3) ? WeightBits : InputBits;
  localparam int unsigned RowShift = (Product == 2) ? 2 : 1;
  localparam int unsigned RowBits  = (FullRow < AccumulatorBits) ? FullRow : AccumulatorBits;

  // Lanes whose rows of one bit are counted together, by functions of six bits, and the results.
  localparam int unsigned Group    = (FullRow > 1) ? 1 : (Product == 0) ? 3 : 2;
  localparam int unsigned Leaves   = (Simd + Group - 1) / Group;
  localparam int unsigned FullLeaf = RowBits + ((Group > 1) ? 1 : 0);
  localparam int unsigned LeafBits = (FullLeaf < AccumulatorBits) ? FullLeaf : AccumulatorBits;

  localparam int unsigned FullSum   = LeafBits + $clog2(Leaves);
  localparam int unsigned SumBits   = (FullSum < AccumulatorBits) ? FullSum : AccumulatorBits;
  localparam int unsigned FullTotal = SumBits + ((Rows > 1) ? RowShift * (Rows - 1) + 1 : 0);
  localparam int unsigned TotalBits = (FullTotal < AccumulatorBits) ? FullTotal : AccumulatorBits;

  // Registers behind the rows: the trees over the lanes, then the tree over the rows.
  localparam int unsigned LaneLevels = (Leaves > 1) ? $clog2(Leaves) : 1;
  localparam int unsigned LaneStages = (LaneLevels + LevelsPerStage - 1) / LevelsPerStage;
  localparam int unsigned RowStages  = ($clog2(Rows) + LevelsPerStage - 1) / LevelsPerStage;
  localparam int unsigned Stages     = LaneStages + RowStages;

  // ---- Input, replayed for every output beat --------------------------------------------------
  logic                  replay_valid, enable;
  logic [InputWidth-1:0] replay_data;

  if (Repeats > 1) begin : gen_replay
    replay_buffer #(
      .Width(InputWidth), .Length(Beats), .Repeats(Repeats), .Depth(32'd2 << $clog2(Beats))
    ) u_replay (
      .clk_i, .rst_ni,
      .in_valid_i, .in_ready_o, .in_data_i,
      .out_valid_o(replay_valid), .out_ready_i(enable), .out_data_o(replay_data)
    );
  end else begin : gen_direct
    assign replay_valid = in_valid_i;
    assign replay_data  = in_data_i;
    assign in_ready_o   = enable;
  end

  // ---- Weights, and which cycle of the output beat this is ------------------------------------
  logic [WordBits-1:0] weights_q;
  logic                first_beat, last_beat;

  if (Beats > 1) begin : gen_beats
    logic [BeatBits-1:0] beat_q;
    assign first_beat = beat_q == '0;
    assign last_beat  = beat_q == BeatBits'(Beats - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) beat_q <= '0;
      else if (enable && replay_valid) beat_q <= last_beat ? '0 : beat_q + 1'b1;
    end
  end else begin : gen_one_beat
    assign first_beat = 1'b1;
    assign last_beat  = 1'b1;
  end

  weight_memory #(
    .Words(Words), .Width(WordBits), .MemoryPrefix(MemoryPrefix)
  ) u_weights (
    .clk_i, .rst_ni, .enable_i(enable), .step_i(replay_valid), .word_o(weights_q)
  );

  logic [InputWidth-1:0] input_q;
  always_ff @(posedge clk_i) begin
    if (enable) input_q <= replay_data;
  end

  // ---- Valid, first and last travel beside the data --------------------------------------------
  logic [Stages:0] valid_q, first_q, last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else if (enable) valid_q <= {valid_q[Stages-1:0], replay_valid};
  end
  always_ff @(posedge clk_i) begin
    if (enable) begin
      first_q <= {first_q[Stages-1:0], first_beat};
      last_q  <= {last_q[Stages-1:0], last_beat};
    end
  end

  // ---- Start values, read one stage ahead of the accumulator -----------------------------------
  logic [StartBits-1:0] start_q;

  start_values #(
    .Folds(Folds), .Width(StartBits), .ImageRows(ImageRows), .ImageColumns(ImageColumns),
    .RowClasses(RowClasses), .ColumnClasses(ColumnClasses), .MemoryPrefix(MemoryPrefix)
  ) u_start (
    .clk_i, .rst_ni,
    .read_i(enable && valid_q[Stages-1] && first_q[Stages-1]), .word_o(start_q)
  );

  // ---- Products and sums ------------------------------------------------------------------------
  for (genvar p = 0; p < Pe; p++) begin : gen_pe
    logic [Rows*SumBits-1:0]    sums;
    logic [TotalBits-1:0]       total;
    logic [AccumulatorBits-1:0] accumulator_q;

    for (genvar r = 0; r < Rows; r++) begin : gen_row
      logic [Leaves*Group*RowBits-1:0] rows;
      logic [Leaves*LeafBits-1:0]      leaves;

      for (genvar s = 0; s < Simd; s++) begin : gen_lane
        logic [InputBits-1:0]  operand;
        logic [WeightBits-1:0] code;
        assign operand = input_q[s*InputBits+:InputBits];
        assign code    = weights_q[(p*Simd+s)*WeightBits+:WeightBits];
        product_row #(
          .InputBits(InputBits), .WeightBits(WeightBits), .RowBits(RowBits),
          .Product(Product), .Row(r)
        ) u_row (
          .input_i(operand), .code_i(code), .row_o(rows[s*RowBits+:RowBits])
        );
      end

      for (genvar s = Simd; s < Leaves * Group; s++) begin : gen_missing_lane
        assign rows[s*RowBits+:RowBits] = '0;
      end

      for (genvar i = 0; i < Leaves; i++) begin : gen_leaf
        if (Group == 1) begin : gen_single
          assign leaves[i*LeafBits+:LeafBits] = rows[i*RowBits+:RowBits];
        end else begin : gen_count
          logic [2:0] ones;
          assign ones = 3'(rows[i*Group+:Group]);
          assign leaves[i*LeafBits+:LeafBits] = LeafBits'({
            (ones[0] & ones[1]) | (ones[0] & ones[2]) | (ones[1] & ones[2]), ^ones});
        end
      end

      adder_tree #(
        .Leaves(Leaves), .Width(LeafBits), .Shift(0), .SumBits(SumBits),
        .LevelsPerStage(LevelsPerStage)
      ) u_tree (
        .clk_i, .enable_i(enable), .leaves_i(leaves), .sum_o(sums[r*SumBits+:SumBits])
      );
    end

    if (Rows > 1) begin : gen_combine
      adder_tree #(
        .Leaves(Rows), .Width(SumBits), .Shift(RowShift), .SumBits(TotalBits),
        .LevelsPerStage(LevelsPerStage)
      ) u_tree (
        .clk_i, .enable_i(enable), .leaves_i(sums), .sum_o(total)
      );
    end else begin : gen_single
      assign total = sums;
    end

    // The product sum is the first operand, so that the choice of the second one fits into the
    // LUTs of the carry chain.
    logic [AccumulatorBits-1:0] base;
    assign base = first_q[Stages] ? start_q[p*AccumulatorBits+:AccumulatorBits] : accumulator_q;
    always_ff @(posedge clk_i) begin
      if (enable && valid_q[Stages]) accumulator_q <= AccumulatorBits'(total) + base;
    end
    assign out_data_o[p*AccumulatorBits+:AccumulatorBits] = accumulator_q;
  end

  // ---- Output -----------------------------------------------------------------------------------
  logic out_valid_q;

  assign enable      = !out_valid_q || out_ready_i;
  assign out_valid_o = out_valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_valid_q <= 1'b0;
    else if (enable) out_valid_q <= valid_q[Stages] && last_q[Stages];
  end

endmodule

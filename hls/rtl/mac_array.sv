// Multiply-accumulate array: Pe sums of products of inputs and stored weights, onto start values.
//
// Each cycle takes an input beat and multiplies it with a word of Pe x Simd weights: Simd products
// for each of the Pe sums, which leave as one output beat after `Beats` cycles. A vector is `Folds`
// output beats; output beats and vectors follow each other without a gap. A sum is taken modulo
// 2**AccumulatorBits and starts at a value of its own, see start_values.
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
// Pipeline: weight and input registers | rows and the first adders | ... | accumulators, which are
// also the output register. All of it stands still while an output waits to be taken.
//
// Memories: weights.mem, one word per cycle of a vector, or a single one that holds for all,
// {pe, simd, code} with lane 0 low; those of start_values.
module mac_array #(
  parameter int unsigned Folds           = 2,
  parameter int unsigned Beats           = 2,
  parameter int unsigned Pe              = 2,
  parameter int unsigned Simd            = 4,
  parameter int unsigned SharedInputs    = 1,  // 1: all Pe sums take the same Simd inputs
  parameter int unsigned InputBits       = 2,
  parameter int unsigned WeightBits      = 2,
  parameter int unsigned WeightWords     = 4,  // Folds * Beats, or 1
  parameter int unsigned AccumulatorBits = 8,
  parameter int unsigned Product         = 1,
  parameter int unsigned LevelsPerStage  = 1,  // adders between two registers
  parameter int unsigned RegisterRows    = 1,  // 0: no registers between one lane's rows and adders
  parameter int unsigned ImageRows       = 1,  // this and the next three: see start_values
  parameter int unsigned ImageColumns    = 1,
  parameter int unsigned RowClasses      = 1,
  parameter int unsigned ColumnClasses   = 1,
  parameter              MemoryPrefix    = "",
  localparam int unsigned Inputs         = (SharedInputs != 0) ? Simd : Pe * Simd
) (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  input  logic                          in_valid_i,
  output logic                          in_ready_o,
  input  logic [Inputs*InputBits-1:0]   in_data_i,
  output logic                          out_valid_o,
  input  logic                          out_ready_i,
  output logic [Pe*AccumulatorBits-1:0] out_data_o
);

  // Rows of one product, their bits, and the distance of their weights.
  localparam int unsigned Rows = (Product == 2) ? (WeightBits + 1) / 2 :
                                 (Product == 3) ? InputBits : 1;
  localparam int unsigned FullRow = (Product == 2) ? InputBits + 1 :
                                    (Product == 3) ? WeightBits : InputBits;
  localparam int unsigned RowShift = (Product == 2) ? 2 : 1;
  localparam int unsigned RowBits  = (FullRow < AccumulatorBits) ? FullRow : AccumulatorBits;

  // Lanes whose rows of one bit are counted together, by functions of six bits, and the results.
  localparam int unsigned Group    = (FullRow > 1 || Simd == 1) ? 1 : (Product == 0) ? 3 : 2;
  localparam int unsigned Leaves   = (Simd + Group - 1) / Group;
  localparam int unsigned FullLeaf = RowBits + ((Group > 1) ? 1 : 0);
  localparam int unsigned LeafBits = (FullLeaf < AccumulatorBits) ? FullLeaf : AccumulatorBits;

  localparam int unsigned FullSum   = LeafBits + $clog2(Leaves);
  localparam int unsigned SumBits   = (FullSum < AccumulatorBits) ? FullSum : AccumulatorBits;
  localparam int unsigned FullTotal = SumBits + ((Rows > 1) ? RowShift * (Rows - 1) + 1 : 0);
  localparam int unsigned TotalBits = (FullTotal < AccumulatorBits) ? FullTotal : AccumulatorBits;

  // Registers behind the rows: the trees over the lanes, then the tree over the rows.
  localparam bit          Direct     = RegisterRows == 0 && Simd == 1 && Rows > 1;
  localparam int unsigned LaneLevels = (Leaves > 1) ? $clog2(Leaves) : 1;
  localparam int unsigned LaneStages =
      Direct ? 0 : (LaneLevels + LevelsPerStage - 1) / LevelsPerStage;
  localparam int unsigned RowStages  = ($clog2(Rows) + LevelsPerStage - 1) / LevelsPerStage;
  localparam int unsigned Stages     = LaneStages + RowStages;

  // ---- Weights, inputs and start values ---------------------------------------------------------
  logic                          enable, read_start, add, first;
  logic [Pe*Simd*WeightBits-1:0] weights_q;
  logic [Inputs*InputBits-1:0]   input_q;
  logic [Pe*AccumulatorBits-1:0] start_q;

  weight_memory #(
    .Words(WeightWords), .Width(Pe * Simd * WeightBits), .MemoryPrefix(MemoryPrefix)
  ) u_weights (
    .clk_i, .rst_ni, .enable_i(enable), .step_i(in_valid_i), .word_o(weights_q)
  );

  always_ff @(posedge clk_i) begin
    if (enable) input_q <= in_data_i;
  end

  start_values #(
    .Folds(Folds), .Width(Pe * AccumulatorBits),
    .ImageRows(ImageRows), .ImageColumns(ImageColumns),
    .RowClasses(RowClasses), .ColumnClasses(ColumnClasses), .MemoryPrefix(MemoryPrefix)
  ) u_start (
    .clk_i, .rst_ni, .read_i(read_start), .word_o(start_q)
  );

  // ---- Products and sums ------------------------------------------------------------------------
  for (genvar p = 0; p < Pe; p++) begin : gen_pe
    localparam int unsigned FirstInput = (SharedInputs != 0) ? 0 : p * Simd;

    logic [Rows*SumBits-1:0] sums;
    logic [TotalBits-1:0]    total;

    for (genvar r = 0; r < Rows; r++) begin : gen_row
      logic [Leaves*Group*RowBits-1:0] rows;

      for (genvar s = 0; s < Simd; s++) begin : gen_lane
        logic [InputBits-1:0]  operand;
        logic [WeightBits-1:0] code;
        assign operand = input_q[(FirstInput+s)*InputBits+:InputBits];
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

      if (Direct) begin : gen_direct
        assign sums[r*SumBits+:SumBits] = rows;
      end else begin : gen_lanes
        logic [Leaves*LeafBits-1:0] leaves;

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

    accumulator #(
      .Width(AccumulatorBits)
    ) u_accumulator (
      .clk_i, .add_i(add), .first_i(first),
      .start_i(start_q[p*AccumulatorBits+:AccumulatorBits]),
      .term_i(AccumulatorBits'(total)),
      .sum_o(out_data_o[p*AccumulatorBits+:AccumulatorBits])
    );
  end

  // ---- Control ----------------------------------------------------------------------------------
  accumulation_control #(
    .Beats(Beats), .Stages(Stages)
  ) u_control (
    .clk_i, .rst_ni, .in_valid_i, .enable_o(enable),
    .read_start_o(read_start), .add_o(add), .first_o(first), .out_valid_o, .out_ready_i
  );

  assign in_ready_o = enable;

endmodule

// Matrix-vector unit: out[n] = (start[n] + sum_k weight[n][k] * in[g][k]) mod 2**AccumulatorBits.
//
// A vector is `Groups` subvectors of `Inputs` inputs, and subvector g makes Outputs / Groups of the
// outputs. Each cycle takes Simd inputs and multiplies them with Pe x Simd weights: a vector takes
// (Outputs / Pe) * (Inputs / Simd) cycles, vectors follow each other without a gap. A subvector is
// kept in a replay buffer while its outputs pass, Pe at a time.
//
// Products, pipeline and memories are those of mac_array; there is a weight word for each cycle of
// a vector.
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
  localparam int unsigned InputWidth = Simd * InputBits;

  // ---- Input, replayed for every output beat --------------------------------------------------
  logic                  replay_valid, replay_ready;
  logic [InputWidth-1:0] replay_data;

  if (Repeats > 1) begin : gen_replay
    replay_buffer #(
      .Width(InputWidth), .Length(Beats), .Repeats(Repeats), .Depth(32'd2 << $clog2(Beats))
    ) u_replay (
      .clk_i, .rst_ni,
      .in_valid_i, .in_ready_o, .in_data_i,
      .out_valid_o(replay_valid), .out_ready_i(replay_ready), .out_data_o(replay_data)
    );
  end else begin : gen_direct
    assign replay_valid = in_valid_i;
    assign replay_data  = in_data_i;
    assign in_ready_o   = replay_ready;
  end

  // ---- Products and sums ------------------------------------------------------------------------
  mac_array #(
    .Folds(Folds), .Beats(Beats), .Pe(Pe), .Simd(Simd), .SharedInputs(1),
    .InputBits(InputBits), .WeightBits(WeightBits), .WeightWords(Folds * Beats),
    .AccumulatorBits(AccumulatorBits), .Product(Product),
    .LevelsPerStage(LevelsPerStage), .RegisterRows(1),
    .ImageRows(ImageRows), .ImageColumns(ImageColumns),
    .RowClasses(RowClasses), .ColumnClasses(ColumnClasses), .MemoryPrefix(MemoryPrefix)
  ) u_array (
    .clk_i, .rst_ni,
    .in_valid_i(replay_valid), .in_ready_o(replay_ready), .in_data_i(replay_data),
    .out_valid_o, .out_ready_i, .out_data_o
  );

endmodule

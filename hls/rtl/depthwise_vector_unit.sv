// Depthwise vector unit:
// out[c] = (start[c] + sum_k weight[c][k] * in[k][c]) mod 2**AccumulatorBits.
//
// Each cycle takes one input of Pe channels and multiplies it with a weight of each; after
// Positions cycles the Pe sums leave, and the next Pe channels follow: a vector takes Channels / Pe
// * Positions cycles, vectors follow each other without a gap.
//
// Products, pipeline and memories are those of mac_array, with one lane for each sum.
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

  mac_array #(
    .Folds(Channels / Pe), .Beats(Positions), .Pe(Pe), .Simd(1), .SharedInputs(0),
    .InputBits(InputBits), .WeightBits(WeightBits), .WeightWords(WeightWords),
    .AccumulatorBits(AccumulatorBits), .Product(Product),
    .LevelsPerStage(1), .RegisterRows(0),
    .ImageRows(ImageRows), .ImageColumns(ImageColumns),
    .RowClasses(RowClasses), .ColumnClasses(ColumnClasses), .MemoryPrefix(MemoryPrefix)
  ) u_array (
    .clk_i, .rst_ni, .in_valid_i, .in_ready_o, .in_data_i, .out_valid_o, .out_ready_i, .out_data_o
  );

endmodule

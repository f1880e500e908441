// Accumulator of one lane: with add_i, term_i is added to start_i where first_i is set, else to the
// sum so far, modulo 2**Width. The sum stands in a register.
module accumulator #(
  parameter int unsigned Width = 8
) (
  input  logic             clk_i,
  input  logic             add_i,
  input  logic             first_i,
  input  logic [Width-1:0] start_i,
  input  logic [Width-1:0] term_i,
  output logic [Width-1:0] sum_o
);

  // The term is the first operand, so that the choice of the second one fits into the LUTs of the
  // carry chain.
  logic [Width-1:0] base, sum_q;
  assign base  = first_i ? start_i : sum_q;
  assign sum_o = sum_q;

  always_ff @(posedge clk_i) begin
    if (add_i) sum_q <= term_i + base;
  end

endmodule

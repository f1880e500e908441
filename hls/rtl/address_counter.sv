// Address of a memory that is read word by word in a circle: 0 .. Words - 1, on with each step_i.
module address_counter #(
  parameter int unsigned Words = 4,  // at least 2
  localparam int unsigned AddressBits = $clog2(Words)
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   step_i,
  output logic [AddressBits-1:0] address_o,
  output logic                   last_o
);

  // The counter runs one word ahead, so that the address register feeds nothing but the memory:
  // synthesis would build parts of the memory out of the counter's logic otherwise.
  logic [AddressBits-1:0] address_q, next_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      address_q <= '0;
      next_q    <= AddressBits'(1);
    end else if (step_i) begin
      address_q <= next_q;
      next_q    <= (next_q == AddressBits'(Words - 1)) ? '0 : next_q + 1'b1;
    end
  end

  assign address_o = address_q;
  assign last_o    = next_q == '0;

endmodule

// A count times a signed factor, modulo 2^OutputBits.
module variable_product #(
  parameter int unsigned CountBits  = 4,
  parameter int unsigned FactorBits = 4,
  parameter int unsigned OutputBits = 8
) (
  input  logic [CountBits-1:0]  count_i,
  input  logic [FactorBits-1:0] factor_i,
  output logic [OutputBits-1:0] product_o
);

  localparam int unsigned ProductBits = CountBits + FactorBits;

  logic signed [ProductBits-1:0] product;

  assign product = ProductBits'(signed'({1'b0, count_i})) * ProductBits'(signed'(factor_i));

  if (ProductBits > OutputBits) begin : gen_cut
    /* verilator lint_off UNUSEDSIGNAL */  // they do not reach the result
    logic [ProductBits-OutputBits-1:0] unused;
    /* verilator lint_on UNUSEDSIGNAL */
    assign {unused, product_o} = product;
  end else begin : gen_extended
    assign product_o = OutputBits'(product);
  end

endmodule

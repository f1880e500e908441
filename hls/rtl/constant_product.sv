// A count times a constant, modulo 2^OutputBits; Factor is a signed integer of 64 bits.
//
// A factor with up to four digits in its binary magnitude is a sum of shifted counts, any other a
// multiplier.
module constant_product #(
  parameter int unsigned CountBits  = 4,
  parameter logic [63:0] Factor     = 64'd1,
  parameter int unsigned OutputBits = 8
) (
  input  logic [CountBits-1:0]  count_i,
  output logic [OutputBits-1:0] product_o
);

  localparam logic [63:0] Magnitude = Factor[63] ? -Factor : Factor;
  localparam logic [63:0] Digits    = Magnitude & ((64'd1 << OutputBits) - 64'd1);

  logic [OutputBits-1:0] count, product;

  if (CountBits > OutputBits) begin : gen_cut
    /* verilator lint_off UNUSEDSIGNAL */  // they do not reach the result
    logic [CountBits-OutputBits-1:0] unused;
    /* verilator lint_on UNUSEDSIGNAL */
    assign {unused, count} = count_i;
  end else begin : gen_padded
    assign count = OutputBits'(count_i);
  end

  if ($countones(Digits) <= 4) begin : gen_shifts
    always_comb begin
      product = '0;
      for (int unsigned digit = 0; digit < OutputBits; digit++) begin
        if (Digits[digit]) product = product + (count << digit);
      end
    end
  end else begin : gen_multiplier
    assign product = count * OutputBits'(Digits);
  end

  assign product_o = Factor[63] ? -product : product;

endmodule

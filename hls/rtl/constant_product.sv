// A count times a constant, modulo 2^OutputBits.
//
// A factor of up to four digits is a sum of shifted counts, with up to three adders one behind the
// other; any other is a multiplier. Digits are 0 and 1, or where that takes two digits fewer also
// -1 (no two adjacent, so that there are no fewer): differences are wider than sums.
module constant_product #(
  parameter int unsigned CountBits  = 4,
  parameter logic [63:0] Factor     = 64'd1,
  parameter int unsigned OutputBits = 8
) (
  input  logic [CountBits-1:0]  count_i,
  output logic [OutputBits-1:0] product_o
);

  // Where 3*Factor and Factor differ, Factor has a signed digit, one place further up.
  localparam logic [65:0] Places  = (66'd1 << OutputBits) - 66'd1;
  localparam logic [65:0] Once    = 66'(Factor) & Places;
  localparam logic [65:0] Thrice  = Once + (Once << 1);
  localparam logic [65:0] Ones    = ((Thrice & ~Once) >> 1) & Places;
  localparam logic [65:0] Minuses = ((Once & ~Thrice) >> 1) & Places;
  localparam bit          Signed  = $countones(Ones) + $countones(Minuses) + 1 < $countones(Once);
  localparam logic [65:0] Added   = Signed ? Ones : Once;
  localparam logic [65:0] Removed = Signed ? Minuses : '0;

  logic [OutputBits-1:0] count;

  if (CountBits > OutputBits) begin : gen_cut
    /* verilator lint_off UNUSEDSIGNAL */  // they do not reach the result
    logic [CountBits-OutputBits-1:0] unused;
    /* verilator lint_on UNUSEDSIGNAL */
    assign {unused, count} = count_i;
  end else begin : gen_padded
    assign count = OutputBits'(count_i);
  end

  if ($countones(Added) + $countones(Removed) <= 4) begin : gen_shifts
    always_comb begin
      product_o = '0;
      for (int unsigned place = 0; place < OutputBits; place++) begin
        if (Added[place]) product_o = product_o + (count << place);
        if (Removed[place]) product_o = product_o - (count << place);
      end
    end
  end else begin : gen_multiplier
    assign product_o = count * OutputBits'(Once);
  end

endmodule

// One row of a product of an unsigned input and a coded weight; see mac_array.
//
// Every row bit is a function of at most five bits, so that a row fits into the LUTs of the adder
// that takes it.
module product_row #(
  parameter int unsigned InputBits  = 2,
  parameter int unsigned WeightBits = 2,
  parameter int unsigned RowBits    = 2,
  parameter int unsigned Product    = 1,
  parameter int unsigned Row        = 0
) (
  input  logic [InputBits-1:0]  input_i,
  input  logic [WeightBits-1:0] code_i,
  output logic [RowBits-1:0]    row_o
);

  /* verilator lint_off UNUSEDSIGNAL */  // a row uses some bits of the code and of the input
  if (Product == 0) begin : gen_sign
    assign row_o = RowBits'(~(input_i ^ {InputBits{code_i[0]}}));
  end else if (Product == 1) begin : gen_ternary
    assign row_o = RowBits'((input_i & {InputBits{code_i[0]}}) ^ {InputBits{code_i[1]}});
  end else if (Product == 2) begin : gen_digit
    // Digit -2*high + middle + low of {high, middle, low}, the sign bit repeated above the top.
    logic high, middle, low;
    logic [InputBits:0] magnitude;
    assign high   = code_i[(2*Row+1 < WeightBits) ? 2*Row+1 : WeightBits-1];
    assign middle = code_i[2*Row];
    if (Row == 0) begin : gen_first
      assign low = 1'b0;
    end else begin : gen_next
      assign low = code_i[2*Row-1];
    end
    assign magnitude = (middle ^ low) ? {1'b0, input_i} :
                       (high ^ middle) ? {input_i, 1'b0} : '0;
    assign row_o = RowBits'(magnitude ^ {(InputBits + 1){high}});
  end else begin : gen_plane
    logic [WeightBits-1:0] masked;
    assign masked = code_i & {WeightBits{input_i[Row]}};
    assign row_o  = RowBits'(masked ^ (WeightBits'(1) << (WeightBits - 1)));
  end
  /* verilator lint_on UNUSEDSIGNAL */

endmodule

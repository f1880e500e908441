// Counts 0 .. Size - 1 again and again, and marks First, First + Step, ..., Last.
module stride_counter #(
  parameter int unsigned Size  = 8,
  parameter int unsigned First = 0,
  parameter int unsigned Last  = 6,
  parameter int unsigned Step  = 2
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic advance_i,
  output logic marked_o,
  output logic last_o     // the position is Size - 1
);

  localparam int unsigned Bits = (Size > 1) ? $clog2(Size) : 1;

  if (First == 0 && Last == Size - 1 && Step == 1) begin : gen_all
    assign marked_o = 1'b1;
    frame_counter #(.Beats(Size)) u_position (.clk_i, .rst_ni, .beat_i(advance_i), .last_o);
  end else begin : gen_some
    logic [Bits-1:0] position_q;
    logic [Bits-1:0] next_q;  // the next position to be marked

    assign marked_o = position_q == next_q;
    assign last_o   = position_q == Bits'(Size - 1);

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        position_q <= '0;
        next_q     <= Bits'(First);
      end else if (advance_i) begin
        position_q <= last_o ? '0 : position_q + 1'b1;
        if (marked_o) next_q <= (next_q == Bits'(Last)) ? Bits'(First) : next_q + Bits'(Step);
      end
    end
  end

endmodule

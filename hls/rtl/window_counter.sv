// Counts steps 0 .. Count - 1 in a circle; marks the last and those from First on, Length of them.
module window_counter #(
  parameter int unsigned Count  = 4,
  parameter int unsigned First  = 1,
  parameter int unsigned Length = 2
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic step_i,
  output logic last_o,
  output logic within_o
);

  if (Count > 1) begin : gen_counter
    localparam int unsigned Bits = $clog2(Count);
    logic [Bits-1:0] index_q;
    assign last_o = index_q == Bits'(Count - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) index_q <= '0;
      else if (step_i) index_q <= last_o ? '0 : index_q + 1'b1;
    end

    if (Length == 0) begin : gen_never
      assign within_o = 1'b0;
    end else if (First == 0 && Length >= Count) begin : gen_always
      assign within_o = 1'b1;
    end else begin : gen_range
      // Below First the difference wraps round to a large number.
      logic [Bits:0] difference;
      assign difference = {1'b0, index_q} - (Bits + 1)'(First);
      assign within_o   = difference < (Bits + 1)'(Length);
    end
  end else begin : gen_constant
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = clk_i ^ rst_ni ^ step_i;
    /* verilator lint_on UNUSEDSIGNAL */
    assign last_o   = 1'b1;
    assign within_o = First == 0 && Length > 0;
  end

endmodule

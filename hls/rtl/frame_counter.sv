// Marks the last beat of every frame of `Beats` beats, for TLAST.
module frame_counter #(
  parameter int unsigned Beats = 4
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic beat_i,  // a beat is transferred
  output logic last_o
);

  if (Beats > 1) begin : gen_counter
    localparam int unsigned Bits = $clog2(Beats);
    logic [Bits-1:0] beat_q;
    assign last_o = beat_q == Bits'(Beats - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) beat_q <= '0;
      else if (beat_i) beat_q <= last_o ? '0 : beat_q + 1'b1;
    end
  end else begin : gen_constant
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = clk_i ^ rst_ni ^ beat_i;
    /* verilator lint_on UNUSEDSIGNAL */
    assign last_o = 1'b1;
  end

endmodule

// Pooling: the largest or the sum of each lane over the Positions beats of a window.
//
// The accumulator is the output register: while the output is stalled, no beat is taken.
module pooling #(
  parameter int unsigned Sum        = 0,  // 0 the largest, 1 the sum
  parameter int unsigned Positions  = 4,
  parameter int unsigned Lanes      = 1,
  parameter int unsigned InputBits  = 4,
  parameter int unsigned OutputBits = 4
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic                        in_valid_i,
  output logic                        in_ready_o,
  input  logic [Lanes*InputBits-1:0]  in_data_i,
  output logic                        out_valid_o,
  input  logic                        out_ready_i,
  output logic [Lanes*OutputBits-1:0] out_data_o
);

  logic                        take, last, out_valid_q;
  logic                        first_q;  // the next beat starts a window
  logic [Lanes*OutputBits-1:0] pooled_d, pooled_q;

  assign in_ready_o  = !out_valid_q || out_ready_i;
  assign take        = in_valid_i && in_ready_o;
  assign out_valid_o = out_valid_q;
  assign out_data_o  = pooled_q;

  frame_counter #(.Beats(Positions)) u_position (
    .clk_i, .rst_ni, .beat_i(take), .last_o(last)
  );

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [OutputBits-1:0] value, pooled;
    assign value  = OutputBits'(in_data_i[l*InputBits+:InputBits]);
    assign pooled = pooled_q[l*OutputBits+:OutputBits];
    if (Sum != 0) begin : gen_sum
      assign pooled_d[l*OutputBits+:OutputBits] = value + (first_q ? '0 : pooled);
    end else begin : gen_max
      assign pooled_d[l*OutputBits+:OutputBits] = (first_q || value > pooled) ? value : pooled;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      first_q     <= 1'b1;
      out_valid_q <= 1'b0;
    end else if (in_ready_o) begin
      if (take) first_q <= last;
      out_valid_q <= take && last;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) pooled_q <= pooled_d;
  end

endmodule

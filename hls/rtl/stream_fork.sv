// Fork: every beat to Copies outputs, each of which takes it in its own time.
//
// The beat waits at the input until all have taken it, so nothing is stored but who has.
module stream_fork #(
  parameter int unsigned Width  = 8,
  parameter int unsigned Copies = 2
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic                    in_valid_i,
  output logic                    in_ready_o,
  input  logic [Width-1:0]        in_data_i,
  output logic [Copies-1:0]       out_valid_o,
  input  logic [Copies-1:0]       out_ready_i,
  output logic [Copies*Width-1:0] out_data_o
);

  logic [Copies-1:0] taken_q;

  assign out_valid_o = {Copies{in_valid_i}} & ~taken_q;
  assign out_data_o  = {Copies{in_data_i}};
  assign in_ready_o  = &(out_ready_i | taken_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || in_ready_o) taken_q <= '0;
    else if (in_valid_i) taken_q <= taken_q | out_ready_i;
  end

endmodule

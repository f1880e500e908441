// Stream width converter: groups of lanes into one beat, or one beat into several; full throughput.
//
// InputLanes divides OutputLanes or the other way round. Lane 0 is in the low bits and travels
// first. The wide side is a register.
module stream_width_converter #(
  parameter int unsigned Bits        = 4,  // of a lane
  parameter int unsigned InputLanes  = 4,
  parameter int unsigned OutputLanes = 8
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic                        in_valid_i,
  output logic                        in_ready_o,
  input  logic [InputLanes*Bits-1:0]  in_data_i,
  output logic                        out_valid_o,
  input  logic                        out_ready_i,
  output logic [OutputLanes*Bits-1:0] out_data_o
);

  localparam int unsigned InputWidth  = InputLanes * Bits;
  localparam int unsigned OutputWidth = OutputLanes * Bits;

  if (InputWidth == OutputWidth) begin : gen_same
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = clk_i ^ rst_ni;
    /* verilator lint_on UNUSEDSIGNAL */
    assign out_valid_o = in_valid_i;
    assign in_ready_o  = out_ready_i;
    assign out_data_o  = in_data_i;
  end else if (InputWidth < OutputWidth) begin : gen_widen
    localparam int unsigned Ratio     = OutputWidth / InputWidth;
    localparam int unsigned CountBits = $clog2(Ratio + 1);

    logic [OutputWidth-1:0] data_q;
    logic [CountBits-1:0]   count_q;  // narrow beats held
    logic                   full;

    assign full        = count_q == CountBits'(Ratio);
    assign out_valid_o = full;
    assign out_data_o  = data_q;
    assign in_ready_o  = !full || out_ready_i;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) count_q <= '0;
      else if (full && out_ready_i) count_q <= CountBits'(in_valid_i);
      else if (in_valid_i && !full) count_q <= count_q + 1'b1;
    end
    always_ff @(posedge clk_i) begin
      if (in_valid_i && in_ready_o) data_q <= {in_data_i, data_q[OutputWidth-1:InputWidth]};
    end
  end else begin : gen_narrow
    localparam int unsigned Ratio     = InputWidth / OutputWidth;
    localparam int unsigned CountBits = $clog2(Ratio + 1);

    logic [InputWidth-1:0] data_q;
    logic [CountBits-1:0]  count_q;  // narrow beats left

    assign out_valid_o = count_q != '0;
    assign out_data_o  = data_q[OutputWidth-1:0];
    assign in_ready_o  = (count_q == '0) || (count_q == CountBits'(1) && out_ready_i);

    always_ff @(posedge clk_i) begin
      if (!rst_ni) count_q <= '0;
      else if (in_valid_i && in_ready_o) count_q <= CountBits'(Ratio);
      else if (out_valid_o && out_ready_i) count_q <= count_q - 1'b1;
    end
    always_ff @(posedge clk_i) begin
      if (in_ready_o) data_q <= in_data_i;
      else if (out_ready_i) data_q <= data_q >> OutputWidth;
    end
  end

endmodule

// Stream FIFO of `Depth` beats, one beat in and one beat out per cycle.
//
// Depth 2 is two registers: `in_ready_o` and `out_valid_o` are flip-flops, so that it cuts every
// path between its neighbours. Deeper ones keep Depth - 1 beats in a memory with one write and one
// read port (LUTRAM, or block RAM where it is large) and one in the output register.
module stream_fifo #(
  parameter int unsigned Width = 8,
  parameter int unsigned Depth = 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             in_valid_i,
  output logic             in_ready_o,
  input  logic [Width-1:0] in_data_i,
  output logic             out_valid_o,
  input  logic             out_ready_i,
  output logic [Width-1:0] out_data_o
);

  logic             out_valid_q;
  logic [Width-1:0] out_data_q;
  logic             advance;  // the output register can take a beat

  assign advance     = !out_valid_q || out_ready_i;
  assign out_valid_o = out_valid_q;
  assign out_data_o  = out_data_q;

  if (Depth <= 2) begin : gen_registers
    logic             spare_valid_q;
    logic [Width-1:0] spare_data_q;

    assign in_ready_o = !spare_valid_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        out_valid_q   <= 1'b0;
        spare_valid_q <= 1'b0;
      end else if (advance) begin
        out_valid_q   <= spare_valid_q || in_valid_i;
        spare_valid_q <= 1'b0;
      end else if (in_valid_i) begin
        spare_valid_q <= 1'b1;
      end
    end

    always_ff @(posedge clk_i) begin
      if (advance) out_data_q <= spare_valid_q ? spare_data_q : in_data_i;
      if (!spare_valid_q) spare_data_q <= in_data_i;
    end
  end else begin : gen_memory
    localparam int unsigned Words       = Depth - 1;
    localparam int unsigned AddressBits = (Words > 1) ? $clog2(Words) : 1;
    localparam int unsigned CountBits   = $clog2(Words + 1);

    logic [Width-1:0]       memory [Words];
    logic [AddressBits-1:0] write_q, read_q;
    logic [CountBits-1:0]   count_q;
    logic                   full, empty, push, pop;

    assign full       = count_q == CountBits'(Words);
    assign empty      = count_q == '0;
    assign in_ready_o = !full;
    assign push       = in_valid_i && !full;
    assign pop        = advance && !empty;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        out_valid_q <= 1'b0;
        write_q     <= '0;
        read_q      <= '0;
        count_q     <= '0;
      end else begin
        if (advance) out_valid_q <= !empty;
        if (push) write_q <= (write_q == AddressBits'(Words - 1)) ? '0 : write_q + 1'b1;
        if (pop) read_q <= (read_q == AddressBits'(Words - 1)) ? '0 : read_q + 1'b1;
        if (push && !pop) count_q <= count_q + 1'b1;
        if (pop && !push) count_q <= count_q - 1'b1;
      end
    end

    always_ff @(posedge clk_i) begin
      if (push) memory[write_q] <= in_data_i;
      if (pop) out_data_q <= memory[read_q];
    end
  end

endmodule

// Replay buffer: passes each vector of `Length` beats on `Repeats` times in a row.
//
// A ring memory of `Depth` beats (LUTRAM: one write port, one asynchronous read port). A beat can
// be read in the cycle after it was written; while a vector is repeated, the next one is written
// behind it, so with Depth >= 2 * Length the output has no gap when the input keeps up on average.
module replay_buffer #(
  parameter int unsigned Width   = 8,
  parameter int unsigned Length  = 4,
  parameter int unsigned Repeats = 4,
  parameter int unsigned Depth   = 8   // a power of two, greater than or equal to Length
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

  localparam int unsigned AddressBits = $clog2(Depth);
  localparam int unsigned BeatBits    = (Length > 1) ? $clog2(Length) : 1;
  localparam int unsigned RepeatBits  = (Repeats > 1) ? $clog2(Repeats) : 1;

  logic [Width-1:0]      memory [Depth];
  logic [AddressBits:0]  write_q, read_q, first_q;  // one bit more than an address: laps differ
  logic [AddressBits:0]  read_next;
  logic [BeatBits-1:0]   beat_q;
  logic [RepeatBits-1:0] repeat_q;
  logic                  push, pop, last_beat, last_repeat;

  assign in_ready_o  = (write_q - first_q) != (AddressBits + 1)'(Depth);
  assign out_valid_o = read_q != write_q;
  assign out_data_o  = memory[read_q[AddressBits-1:0]];
  assign push        = in_valid_i && in_ready_o;
  assign pop         = out_valid_o && out_ready_i;
  assign last_beat   = beat_q == BeatBits'(Length - 1);
  assign last_repeat = repeat_q == RepeatBits'(Repeats - 1);
  assign read_next   = read_q + 1'b1;

  always_ff @(posedge clk_i) begin
    if (push) memory[write_q[AddressBits-1:0]] <= in_data_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q  <= '0;
      read_q   <= '0;
      first_q  <= '0;
      beat_q   <= '0;
      repeat_q <= '0;
    end else begin
      if (push) write_q <= write_q + 1'b1;
      if (pop) begin
        beat_q <= last_beat ? '0 : beat_q + 1'b1;
        read_q <= (last_beat && !last_repeat) ? first_q : read_next;
        if (last_beat) begin
          repeat_q <= last_repeat ? '0 : repeat_q + 1'b1;
          if (last_repeat) first_q <= read_next;
        end
      end
    end
  end

endmodule

// Line buffer: the newest `Pixels` pixels of a stream, read in any order, one beat per cycle.
//
// Pixels of PixelBeats beats are written round and round a memory with one write port and one
// registered read port: LUTRAM, or block RAM where it is large. Whoever uses the buffer gives the
// order in which it is read: with each step, one beat of it is read, and three constants are added,
// - to the address, which goes round in Pixels * PixelBeats words;
// - to the position read, in pixels, so that `ahead_o` are the pixels complete behind that one (it
//   can be read unless this is negative, and `available_i` has to say so);
// - to the number of pixels that may be overwritten.
// With `padding_i`, a step gives Fill instead: from one more word of the memory with FillStored,
// else from a multiplexer behind the memory.
module line_buffer #(
  parameter int unsigned         Width        = 8,
  parameter int unsigned         Pixels       = 4,
  parameter int unsigned         PixelBeats   = 2,
  parameter int unsigned         AddressBits  = 4,  // of Pixels * PixelBeats words and FillStored
  parameter int unsigned         CountBits    = 4,
  parameter int unsigned         FirstAddress = 0,
  parameter int                  FirstAhead   = -1,
  parameter int                  FirstRoom    = 3,  // pixels that may be begun at reset, less one
  parameter bit                  Padded       = 1'b0,
  parameter bit                  FillStored   = 1'b0,
  parameter logic [Width-1:0]    Fill         = '0
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic                        in_valid_i,
  output logic                        in_ready_o,
  input  logic [Width-1:0]            in_data_i,
  output logic                        out_valid_o,
  input  logic                        out_ready_i,
  output logic [Width-1:0]            out_data_o,
  output logic                        step_o,
  output logic signed [CountBits-1:0] ahead_o,
  input  logic                        available_i,
  input  logic                        padding_i,
  input  logic [AddressBits-1:0]      address_step_i,
  input  logic [CountBits-1:0]        position_step_i,
  input  logic [CountBits-1:0]        freed_i
);

  localparam int unsigned Words       = Pixels * PixelBeats;
  localparam int unsigned MemoryWords = FillStored ? Words + 1 : Words;

  logic [Width-1:0]            memory [MemoryWords];
  logic [AddressBits-1:0]      write_q, read_q, read_next, read_address;
  logic [Width-1:0]            data_q;
  logic                        valid_q;
  logic signed [CountBits-1:0] ahead_q, room_q;
  logic                        push, pixel_end, written, advance;

  assign in_ready_o  = !room_q[CountBits-1];
  assign push        = in_valid_i && in_ready_o;
  assign written     = push && pixel_end;
  assign advance     = !valid_q || out_ready_i;
  assign step_o      = advance && available_i;
  assign ahead_o     = ahead_q;
  assign out_valid_o = valid_q;

  frame_counter #(.Beats(PixelBeats)) u_written (
    .clk_i, .rst_ni, .beat_i(push), .last_o(pixel_end)
  );

  if (Words == 1 << AddressBits) begin : gen_power_of_two
    assign read_next = read_q + address_step_i;
  end else begin : gen_wrap
    logic [AddressBits:0] beyond;  // negative unless the address wraps
    assign beyond    = {1'b0, read_q} + ({1'b0, address_step_i} - (AddressBits + 1)'(Words));
    assign read_next = beyond[AddressBits] ? read_q + address_step_i : beyond[AddressBits-1:0];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= AddressBits'(FirstAddress);
      ahead_q <= CountBits'(FirstAhead);
      room_q  <= CountBits'(FirstRoom);
      valid_q <= 1'b0;
    end else begin
      if (push) write_q <= (write_q == AddressBits'(Words - 1)) ? '0 : write_q + 1'b1;
      if (step_o) read_q <= read_next;
      ahead_q <= ahead_q - (step_o ? position_step_i : '0) + CountBits'(written);
      room_q  <= room_q + (step_o ? freed_i : '0) - CountBits'(written);
      if (advance) valid_q <= step_o;
    end
  end

  always_ff @(posedge clk_i) begin
    // Not before the first reset: the word with Fill is never written again.
    if (push && rst_ni) memory[write_q] <= in_data_i;
    if (advance) data_q <= memory[read_address];
  end

  if (FillStored) begin : gen_fill_word
    initial memory[Words] = Fill;
    assign read_address = padding_i ? AddressBits'(Words) : read_q;
    assign out_data_o   = data_q;
  end else if (Padded) begin : gen_fill_behind
    logic padding_q;
    always_ff @(posedge clk_i) begin
      if (advance) padding_q <= padding_i;
    end
    assign read_address = read_q;
    assign out_data_o   = padding_q ? Fill : data_q;
  end else begin : gen_no_padding
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = padding_i;
    /* verilator lint_on UNUSEDSIGNAL */
    assign read_address = read_q;
    assign out_data_o   = data_q;
  end

endmodule

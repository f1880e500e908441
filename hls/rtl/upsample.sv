// Nearest-neighbour upsampling: each pixel ScaleColumns times in a row, each row ScaleRows times.
//
// The pixels (PixelBeats beats each) go through a line buffer, which is read in this order: rows,
// repetitions of the row, pixels, repetitions of the pixel, beats. The last repetition of a row
// frees its pixels one by one, and the next row is written behind it.
module upsample #(
  parameter int unsigned Columns      = 4,
  parameter int unsigned PixelBeats   = 2,
  parameter int unsigned ScaleRows    = 2,
  parameter int unsigned ScaleColumns = 2,
  parameter int unsigned Lanes        = 2,
  parameter int unsigned Bits         = 4,
  parameter int unsigned Pixels       = 4
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  in_valid_i,
  output logic                  in_ready_o,
  input  logic [Lanes*Bits-1:0] in_data_i,
  output logic                  out_valid_o,
  input  logic                  out_ready_i,
  output logic [Lanes*Bits-1:0] out_data_o
);

  localparam int unsigned Words       = Pixels * PixelBeats;
  localparam int unsigned AddressBits = $clog2(Words);
  localparam int unsigned CountBits   = $clog2(Pixels + 1) + 1;

  // ---- The loops --------------------------------------------------------------------------------
  logic step, last_beat, last_copy, last_column, last_repetition;

  frame_counter #(.Beats(PixelBeats)) u_beat (
    .clk_i, .rst_ni, .beat_i(step), .last_o(last_beat)
  );
  frame_counter #(.Beats(ScaleColumns)) u_copy (
    .clk_i, .rst_ni, .beat_i(step && last_beat), .last_o(last_copy)
  );
  frame_counter #(.Beats(Columns)) u_column (
    .clk_i, .rst_ni, .beat_i(step && last_beat && last_copy), .last_o(last_column)
  );
  frame_counter #(.Beats(ScaleRows)) u_repetition (
    .clk_i, .rst_ni, .beat_i(step && last_beat && last_copy && last_column),
    .last_o(last_repetition)
  );

  // ---- From beat to beat ------------------------------------------------------------------------
  logic [AddressBits-1:0] address_step;
  logic [CountBits-1:0]   position_step, freed;

  always_comb begin
    address_step  = AddressBits'(1 % Words);
    position_step = '0;
    freed         = '0;
    if (!last_beat) begin
      // the next beat of the pixel
    end else if (!last_copy) begin
      address_step  = AddressBits'((Words - (PixelBeats - 1)) % Words);
    end else begin
      freed         = last_repetition ? CountBits'(1) : '0;
      position_step = CountBits'(1);
      if (last_column && !last_repetition) begin
        address_step  = AddressBits'((Words - (Columns * PixelBeats - 1)) % Words);
        position_step = CountBits'(-(Columns - 1));
      end
    end
  end

  // ---- The buffer -------------------------------------------------------------------------------
  logic signed [CountBits-1:0] ahead;

  line_buffer #(
    .Width(Lanes * Bits),
    .Pixels(Pixels),
    .PixelBeats(PixelBeats),
    .AddressBits(AddressBits),
    .CountBits(CountBits),
    .FirstRoom(Pixels - 1)
  ) u_buffer (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .out_valid_o,
    .out_ready_i,
    .out_data_o,
    .step_o(step),
    .ahead_o(ahead),
    .available_i(!ahead[CountBits-1]),
    .padding_i(1'b0),
    .address_step_i(address_step),
    .position_step_i(position_step),
    .freed_i(freed)
  );

endmodule

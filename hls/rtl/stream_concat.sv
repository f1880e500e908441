// Concatenation: Beats[0] beats from input 0, Beats[1] from input 1, ..., again and again.
//
// Input i has InputBits[i] bits a lane and stands at bit Offsets[i] of in_data_i; lanes are padded
// with zeros to OutputBits.
module stream_concat #(
  parameter int unsigned          Inputs     = 2,
  parameter int unsigned          Lanes      = 1,
  parameter logic [Inputs*32-1:0] Beats      = {32'd1, 32'd1},
  parameter int unsigned          MostBeats  = 1,  // the largest of Beats
  parameter logic [Inputs*32-1:0] InputBits  = {32'd4, 32'd4},
  parameter logic [Inputs*32-1:0] Offsets    = {32'd4, 32'd0},
  parameter int unsigned          InputWidth = 8,  // of all inputs together
  parameter int unsigned          OutputBits = 4
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic [Inputs-1:0]           in_valid_i,
  output logic [Inputs-1:0]           in_ready_o,
  input  logic [InputWidth-1:0]       in_data_i,
  output logic                        out_valid_o,
  input  logic                        out_ready_i,
  output logic [Lanes*OutputBits-1:0] out_data_o
);

  localparam int unsigned SelectBits = (Inputs > 1) ? $clog2(Inputs) : 1;
  localparam int unsigned BeatBits   = (MostBeats > 1) ? $clog2(MostBeats) : 1;

  logic [SelectBits-1:0]                   select_q;
  logic [BeatBits-1:0]                     beat_q;
  logic [Inputs-1:0][Lanes*OutputBits-1:0] words;
  logic [Inputs-1:0]                       last_beats;
  logic                                    last_beat, last_input;

  for (genvar i = 0; i < Inputs; i++) begin : gen_input
    localparam int unsigned Bits   = InputBits[32*i+:32];
    localparam int unsigned Offset = Offsets[32*i+:32];
    localparam int unsigned Last   = Beats[32*i+:32] - 1;

    for (genvar l = 0; l < Lanes; l++) begin : gen_lane
      assign words[i][l*OutputBits+:OutputBits] = OutputBits'(in_data_i[Offset+l*Bits+:Bits]);
    end
    assign in_ready_o[i] = out_ready_i && select_q == SelectBits'(i);
    assign last_beats[i] = beat_q == BeatBits'(Last);
  end

  assign out_valid_o = in_valid_i[select_q];
  assign out_data_o  = words[select_q];
  assign last_beat   = last_beats[select_q];
  assign last_input  = select_q == SelectBits'(Inputs - 1);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      select_q <= '0;
      beat_q   <= '0;
    end else if (out_valid_o && out_ready_i) begin
      beat_q <= last_beat ? '0 : beat_q + 1'b1;
      if (last_beat) select_q <= last_input ? '0 : select_q + 1'b1;
    end
  end

endmodule

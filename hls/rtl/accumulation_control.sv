// Control of a pipeline that adds up `Beats` input beats for each output beat.
//
// A beat is taken into the registers at the pipeline's entrance where in_valid_i and enable_o are
// set, passes `Stages` further registers, and is what the accumulators add where add_o is set, to
// the start value where first_o is set besides. The start value is to be read into a register with
// read_start_o, one stage ahead. After the last beat, out_valid_o says that the accumulators, which
// are also the output register, hold an output beat. The whole pipeline stands still (enable_o is
// low) while an output beat waits to be taken.
module accumulation_control #(
  parameter int unsigned Beats  = 4,
  parameter int unsigned Stages = 1  // at least 1
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic in_valid_i,
  output logic enable_o,
  output logic read_start_o,
  output logic add_o,
  output logic first_o,
  output logic out_valid_o,
  input  logic out_ready_i
);

  logic            out_valid_q, step, first_beat, first_q;
  logic [Stages:0] valid_q;  // beside the data

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else if (enable_o) valid_q <= {valid_q[Stages-1:0], in_valid_i};
  end

  // Beats are counted where the first one is to be known: one stage ahead of the accumulators.
  assign step = enable_o && valid_q[Stages-1];

  if (Beats > 1) begin : gen_beats
    localparam int unsigned BeatBits = $clog2(Beats);
    logic [BeatBits-1:0] beat_q;
    assign first_beat = beat_q == '0;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) beat_q <= '0;
      else if (step) beat_q <= (beat_q == BeatBits'(Beats - 1)) ? '0 : beat_q + 1'b1;
    end
  end else begin : gen_one_beat
    assign first_beat = 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (enable_o) first_q <= first_beat;
  end

  assign read_start_o = step && first_beat;
  assign add_o        = enable_o && valid_q[Stages];
  assign first_o      = first_q;

  // A beat at the accumulators is the last one if the one behind it is to be a first one.
  assign enable_o    = !out_valid_q || out_ready_i;
  assign out_valid_o = out_valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_valid_q <= 1'b0;
    else if (enable_o) out_valid_q <= valid_q[Stages] && first_beat;
  end

endmodule

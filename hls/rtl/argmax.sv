// Argmax: index of the largest scale[c] * in[c] + offset[c] of a frame, the lower one on a tie.
//
// Takes Lanes channels a cycle and gives one index per frame. The values of a beat are reduced by
// a tree of comparators with a register behind each level, then compared with the largest so far.
// Without Affine the inputs are compared as they are. Memories (with Affine): affine.mem, a word
// per beat, {offset, scale} per lane, lane 0 low.
module argmax #(
  parameter int unsigned Channels     = 10,
  parameter int unsigned Lanes        = 1,
  parameter int unsigned InputBits    = 8,
  parameter int unsigned ScaleBits    = 1,
  parameter int unsigned OffsetBits   = 1,
  parameter int unsigned ValueBits    = 8,
  parameter int unsigned IndexBits    = 4,
  parameter int unsigned Affine       = 0,
  parameter              MemoryPrefix = ""
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       in_valid_i,
  output logic                       in_ready_o,
  input  logic [Lanes*InputBits-1:0] in_data_i,
  output logic                       out_valid_o,
  input  logic                       out_ready_i,
  output logic [IndexBits-1:0]       out_data_o
);

  localparam int unsigned Beats    = Channels / Lanes;
  localparam int unsigned BeatBits = (Beats > 1) ? $clog2(Beats) : 1;
  localparam int unsigned Levels   = $clog2(Lanes);
  localparam int unsigned Before   = (Affine != 0) ? 3 : 1;  // registers in front of the tree
  localparam int unsigned Stages   = Before + Levels;

  logic enable;
  assign in_ready_o = enable;

  // ---- Which beat of the frame, and the base of its indices -------------------------------------
  logic                 first_beat, last_beat;
  logic [BeatBits-1:0]  beat_q;
  logic [IndexBits-1:0] base;

  if (Beats > 1) begin : gen_beats
    logic [IndexBits-1:0] base_q;
    assign first_beat = beat_q == '0;
    assign last_beat  = beat_q == BeatBits'(Beats - 1);
    assign base       = base_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        beat_q <= '0;
        base_q <= '0;
      end else if (enable && in_valid_i) begin
        beat_q <= last_beat ? '0 : beat_q + 1'b1;
        base_q <= last_beat ? '0 : base_q + IndexBits'(Lanes);
      end
    end
  end else begin : gen_one_beat
    assign beat_q     = '0;
    assign first_beat = 1'b1;
    assign last_beat  = 1'b1;
    assign base       = '0;
  end

  logic [Stages-1:0]                valid_q, first_q, last_q;
  logic [Stages-1:0][IndexBits-1:0] base_q;

  if (Stages > 1) begin : gen_pipeline
    always_ff @(posedge clk_i) begin
      if (!rst_ni) valid_q <= '0;
      else if (enable) valid_q <= {valid_q[Stages-2:0], in_valid_i};
    end
    always_ff @(posedge clk_i) begin
      if (enable) begin
        first_q <= {first_q[Stages-2:0], first_beat};
        last_q  <= {last_q[Stages-2:0], last_beat};
        base_q  <= {base_q[Stages-2:0], base};
      end
    end
  end else begin : gen_single_stage
    always_ff @(posedge clk_i) begin
      if (!rst_ni) valid_q <= '0;
      else if (enable) valid_q <= in_valid_i;
    end
    always_ff @(posedge clk_i) begin
      if (enable) begin
        first_q <= first_beat;
        last_q  <= last_beat;
        base_q  <= base;
      end
    end
  end

  // ---- Values ------------------------------------------------------------------------------------
  logic [Lanes*ValueBits-1:0] values_q;
  logic [Lanes*InputBits-1:0] input_q;

  always_ff @(posedge clk_i) begin
    if (enable) input_q <= in_data_i;
  end

  if (Affine != 0) begin : gen_affine
    localparam int unsigned LaneBits    = ScaleBits + OffsetBits;
    localparam int unsigned ProductBits = InputBits + ScaleBits;

    logic [Lanes*LaneBits-1:0] memory [Beats];
    logic [Lanes*LaneBits-1:0] affine_q;

    if (MemoryPrefix != "") begin : gen_load
      initial $readmemh({MemoryPrefix, "affine.mem"}, memory);
    end
    always_ff @(posedge clk_i) begin
      if (enable) affine_q <= memory[beat_q];
    end
    for (genvar n = 0; n < Lanes; n++) begin : gen_lane
      logic [ScaleBits-1:0]   scale;
      logic [OffsetBits-1:0]  offset_q;
      logic [ProductBits-1:0] product_q;
      assign scale = affine_q[n*LaneBits+:ScaleBits];
      always_ff @(posedge clk_i) begin
        if (enable) begin
          product_q <= ProductBits'(input_q[n*InputBits+:InputBits]) * ProductBits'(scale);
          offset_q  <= affine_q[n*LaneBits+ScaleBits+:OffsetBits];
          values_q[n*ValueBits+:ValueBits] <= ValueBits'(product_q) + ValueBits'(offset_q);
        end
      end
    end
  end else begin : gen_plain
    assign values_q = input_q;
  end

  // ---- The largest of a beat ----------------------------------------------------------------------
  for (genvar l = 0; l <= Levels; l++) begin : gen_level
    localparam int unsigned Nodes = (Lanes + (1 << l) - 1) >> l;
    localparam int unsigned Where = (l > 0) ? l : 1;  // bits of a lane index within a node

    logic [Nodes*ValueBits-1:0] values;
    logic [Nodes*Where-1:0]     lanes;

    if (l == 0) begin : gen_leaves
      assign values = values_q;
      assign lanes  = '0;
    end else begin : gen_compare
      localparam int unsigned Below  = (l > 1) ? l - 1 : 1;
      localparam int unsigned Others = (Lanes + (1 << (l - 1)) - 1) >> (l - 1);

      for (genvar n = 0; n < Nodes; n++) begin : gen_node
        logic [ValueBits-1:0] left;
        logic [Where-1:0]     left_lane;
        assign left      = gen_level[l-1].values[2*n*ValueBits+:ValueBits];
        assign left_lane = Where'(gen_level[l-1].lanes[2*n*Below+:Below]);
        if (2 * n + 1 < Others) begin : gen_two
          logic [ValueBits-1:0] right;
          logic [Where-1:0]     right_lane;
          logic                 take_right;
          assign right      = gen_level[l-1].values[(2*n+1)*ValueBits+:ValueBits];
          assign right_lane = Where'(gen_level[l-1].lanes[(2*n+1)*Below+:Below]) |
                              (Where'(1) << (l - 1));
          assign take_right = right > left;
          always_ff @(posedge clk_i) begin
            if (enable) begin
              values[n*ValueBits+:ValueBits] <= take_right ? right : left;
              lanes[n*Where+:Where]          <= take_right ? right_lane : left_lane;
            end
          end
        end else begin : gen_one
          always_ff @(posedge clk_i) begin
            if (enable) begin
              values[n*ValueBits+:ValueBits] <= left;
              lanes[n*Where+:Where]          <= left_lane;
            end
          end
        end
      end
    end
  end

  // ---- The largest of the frame, which is also the output register -----------------------------------
  logic [ValueBits-1:0] largest_q, candidate;
  logic [IndexBits-1:0] index_q, candidate_index;
  logic                 out_valid_q;

  assign candidate       = gen_level[Levels].values;
  assign candidate_index = base_q[Stages-1] + IndexBits'(gen_level[Levels].lanes);

  always_ff @(posedge clk_i) begin
    if (enable && valid_q[Stages-1] && (first_q[Stages-1] || candidate > largest_q)) begin
      largest_q <= candidate;
      index_q   <= candidate_index;
    end
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_valid_q <= 1'b0;
    else if (enable) out_valid_q <= valid_q[Stages-1] && last_q[Stages-1];
  end

  assign enable      = !out_valid_q || out_ready_i;
  assign out_valid_o = out_valid_q;
  assign out_data_o  = index_q;

endmodule

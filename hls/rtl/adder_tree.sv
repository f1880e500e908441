// Sum of `Leaves` unsigned numbers, leaf i weighted by 2**(Shift * i), modulo 2**SumBits.
//
// A binary tree of two-operand adders with a register behind every `LevelsPerStage` adder levels
// and behind the last one; `Latency` cycles (counted while enable_i is high) from leaves to sum.
// A node is no wider than the values it can hold.
module adder_tree #(
  parameter int unsigned Leaves         = 4,
  parameter int unsigned Width          = 4,  // bits of a leaf
  parameter int unsigned Shift          = 0,
  parameter int unsigned SumBits        = 6,
  parameter int unsigned LevelsPerStage = 1
) (
  input  logic                    clk_i,
  input  logic                    enable_i,
  input  logic [Leaves*Width-1:0] leaves_i,
  output logic [SumBits-1:0]      sum_o
);

  localparam int unsigned Levels = $clog2(Leaves);

  // Bits of a node `level` adders above the leaves: each level adds a carry and the shift.
  function automatic int unsigned node_bits(int unsigned level);
    node_bits = Width + level + Shift * ((32'd1 << level) - 1);
    if (node_bits > SumBits) node_bits = SumBits;
  endfunction

  for (genvar l = 0; l <= Levels; l++) begin : gen_level
    localparam int unsigned Nodes = (Leaves + (1 << l) - 1) >> l;
    localparam int unsigned Bits  = node_bits(l);

    /* verilator lint_off UNUSEDSIGNAL */  // a sum of few bits drops high ones
    logic [Nodes*Bits-1:0] nodes;
    /* verilator lint_on UNUSEDSIGNAL */

    if (l == 0) begin : gen_leaves
      for (genvar n = 0; n < Nodes; n++) begin : gen_node
        assign nodes[n*Bits+:Bits] = leaves_i[n*Width+:Bits];
      end
    end else begin : gen_adders
      localparam int unsigned Below = node_bits(l - 1);
      localparam int unsigned Step  = Shift << (l - 1);  // weight of the right operand, log2

      logic [Nodes*Bits-1:0] sums;

      for (genvar n = 0; n < Nodes; n++) begin : gen_node
        logic [Bits-1:0] left;
        assign left = Bits'(gen_level[l-1].nodes[2*n*Below+:Below]);
        if (((2 * n + 1) << (l - 1)) >= Leaves || Step >= Bits) begin : gen_pass
          assign sums[n*Bits+:Bits] = left;
        end else begin : gen_add
          localparam int unsigned Upper = Bits - Step;
          logic [Upper-1:0] right;
          assign right = Upper'(gen_level[l-1].nodes[(2*n+1)*Below+:Below]);
          assign sums[n*Bits+Step+:Upper] = left[Bits-1:Step] + right;
          if (Step > 0) begin : gen_low
            assign sums[n*Bits+:Step] = left[Step-1:0];
          end
        end
      end

      if (l % LevelsPerStage == 0 || l == Levels) begin : gen_register
        always_ff @(posedge clk_i) begin
          if (enable_i) nodes <= sums;
        end
      end else begin : gen_wire
        assign nodes = sums;
      end
    end
  end

  if (Levels == 0) begin : gen_single
    always_ff @(posedge clk_i) begin
      if (enable_i) sum_o <= SumBits'(gen_level[0].nodes);
    end
  end else begin : gen_tree
    assign sum_o = SumBits'(gen_level[Levels].nodes);
  end

endmodule

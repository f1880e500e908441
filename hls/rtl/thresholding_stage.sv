// One stage of thresholding: decides bit OutputBits - 1 - Stage of every lane's count.
module thresholding_stage #(
  parameter int unsigned Rows          = 4,
  parameter int unsigned RowBits       = 2,
  parameter int unsigned Pe            = 1,
  parameter int unsigned InputBits     = 8,
  parameter int unsigned ThresholdBits = 8,
  parameter int unsigned OutputBits    = 2,
  parameter int unsigned Stage         = 0,
  parameter              MemoryPrefix  = ""
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     enable_i,
  input  logic                     valid_i,
  input  logic [RowBits-1:0]       row_i,
  input  logic [Pe-1:0]            falling_i,
  input  logic [Pe*InputBits-1:0]  operand_i,
  input  logic [Pe*OutputBits-1:0] count_i,
  output logic                     valid_o,
  output logic [RowBits-1:0]       row_o,
  output logic [Pe-1:0]            falling_o,
  output logic [Pe*InputBits-1:0]  operand_o,
  output logic [Pe*OutputBits-1:0] count_o
);

  localparam int unsigned Words       = Rows << Stage;
  localparam int unsigned AddressBits = (Words > 1) ? $clog2(Words) : 1;
  localparam int unsigned Bit         = OutputBits - 1 - Stage;  // the one decided here
  localparam bit          Registered  = Words > 64;

  logic                        valid;
  logic [RowBits-1:0]          row;
  logic [Pe-1:0]               falling;
  logic [Pe*InputBits-1:0]     operand;
  logic [Pe*OutputBits-1:0]    count;
  logic [Pe*ThresholdBits-1:0] threshold;

  for (genvar p = 0; p < Pe; p++) begin : gen_memory
    logic [Pe*ThresholdBits-1:0] memory [Words];
    logic [AddressBits-1:0]      address;
    logic [ThresholdBits-1:0]    word;

    if (MemoryPrefix != "") begin : gen_load
      initial $readmemh({MemoryPrefix, "thresholds_", 8'(48 + Stage / 10), 8'(48 + Stage % 10),
                         ".mem"}, memory);
    end
    if (Stage == 0) begin : gen_first
      assign address = AddressBits'(row_i);
    end else begin : gen_next
      assign address = AddressBits'({row_i, count_i[p*OutputBits+Bit+1+:Stage]});
    end
    assign word = memory[address][p*ThresholdBits+:ThresholdBits];

    if (Registered) begin : gen_register
      always_ff @(posedge clk_i) begin
        if (enable_i) threshold[p*ThresholdBits+:ThresholdBits] <= word;
      end
    end else begin : gen_wire
      assign threshold[p*ThresholdBits+:ThresholdBits] = word;
    end
  end

  if (Registered) begin : gen_register
    always_ff @(posedge clk_i) begin
      if (!rst_ni) valid <= 1'b0;
      else if (enable_i) valid <= valid_i;
    end
    always_ff @(posedge clk_i) begin
      if (enable_i) begin
        row     <= row_i;
        falling <= falling_i;
        operand <= operand_i;
        count   <= count_i;
      end
    end
  end else begin : gen_wire
    assign valid   = valid_i;
    assign row     = row_i;
    assign falling = falling_i;
    assign operand = operand_i;
    assign count   = count_i;
  end

  logic [Pe*OutputBits-1:0] count_d;

  always_comb begin
    count_d = count;
    for (int unsigned p = 0; p < Pe; p++) begin
      count_d[p*OutputBits+Bit] = falling[p] ^
          (ThresholdBits'(operand[p*InputBits+:InputBits]) >=
           threshold[p*ThresholdBits+:ThresholdBits]);
    end
  end

  // Yosys moves an address register without an initial value behind the memory, where the memory
  // can no longer merge into the comparator.
  initial begin
    row_o   = '0;
    count_o = '0;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= 1'b0;
    else if (enable_i) valid_o <= valid;
  end
  always_ff @(posedge clk_i) begin
    if (enable_i) begin
      row_o     <= row;
      falling_o <= falling;
      operand_o <= operand;
      count_o   <= count_d;
    end
  end

endmodule

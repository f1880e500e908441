// Weight memory: word by word in a circle, through a register.
//
// `word_o` follows a cycle with `enable_i`; the address moves on where `step_i` is set besides. The
// memory maps to LUT ROM or block RAM; a single word is a constant, without a register.
module weight_memory #(
  parameter int unsigned Words        = 4,
  parameter int unsigned Width        = 8,
  parameter              MemoryPrefix = ""
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             enable_i,
  input  logic             step_i,
  output logic [Width-1:0] word_o
);

  logic [Width-1:0] weights [Words];
  if (MemoryPrefix != "") begin : gen_load
    initial $readmemh({MemoryPrefix, "weights.mem"}, weights);
  end

  if (Words > 1) begin : gen_words
    logic [$clog2(Words)-1:0] address;
    /* verilator lint_off UNUSEDSIGNAL */
    logic last;
    /* verilator lint_on UNUSEDSIGNAL */
    address_counter #(
      .Words(Words)
    ) u_address (
      .clk_i, .rst_ni, .step_i(enable_i && step_i), .address_o(address), .last_o(last)
    );
    always_ff @(posedge clk_i) begin
      if (enable_i) word_o <= weights[address];
    end
  end else begin : gen_constant
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = clk_i ^ rst_ni ^ enable_i ^ step_i;
    /* verilator lint_on UNUSEDSIGNAL */
    assign word_o = weights[0];
  end

endmodule

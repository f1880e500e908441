// Elementwise sum and product: (Product*l*r + left*l + right*r + start) mod 2^OutputBits.
//
// A stage of the pipeline each for reading the memories, for multiplying, for multiplying by
// Product, and for the sum of up to four terms; the first three only where they do something.
//
// A factor (or the start value) with bits is read from memory, signed: left.mem, right.mem,
// start.mem, a word per beat of a vector, lane 0 low (LUTRAM, or block RAM where it is large). One
// of 0 bits is the parameter of its name, the same for all channels.
module elementwise #(
  parameter int unsigned Rows            = 1,  // beats of a vector
  parameter int unsigned Lanes           = 1,
  parameter int unsigned LeftBits        = 4,
  parameter int unsigned RightBits       = 4,
  parameter int unsigned OutputBits      = 5,
  parameter logic [63:0] Product         = 64'd0,
  parameter logic [63:0] LeftFactor      = 64'd1,
  parameter logic [63:0] RightFactor     = 64'd1,
  parameter logic [63:0] Start           = 64'd0,
  parameter int unsigned LeftFactorBits  = 0,
  parameter int unsigned RightFactorBits = 0,
  parameter int unsigned StartBits       = 0,
  parameter              MemoryPrefix    = ""
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic                        left_valid_i,
  output logic                        left_ready_o,
  input  logic [Lanes*LeftBits-1:0]   left_data_i,
  input  logic                        right_valid_i,
  output logic                        right_ready_o,
  input  logic [Lanes*RightBits-1:0]  right_data_i,
  output logic                        out_valid_o,
  input  logic                        out_ready_i,
  output logic [Lanes*OutputBits-1:0] out_data_o
);

  // Constants multiply by their magnitude; the sum subtracts where they are negative.
  localparam logic [63:0] LeftSize    = LeftFactor[63] ? -LeftFactor : LeftFactor;
  localparam logic [63:0] RightSize   = RightFactor[63] ? -RightFactor : RightFactor;
  localparam logic [63:0] ProductSize = Product[63] ? -Product : Product;

  localparam bit Fetches    = LeftFactorBits + RightFactorBits + StartBits != 0;
  localparam bit Multiplies = Product != '0 || LeftFactorBits != 0 || RightFactorBits != 0 ||
                              LeftSize > 64'd1 || RightSize > 64'd1;
  localparam bit Scales     = ProductSize > 64'd1;
  localparam int unsigned Stages      = 1 + 32'(Fetches) + 32'(Multiplies) + 32'(Scales);
  localparam int unsigned ProductBits = LeftBits + RightBits;

  // ---- Control --------------------------------------------------------------------------------
  logic              enable, both;
  logic [Stages-1:0] valid_q;

  assign enable        = !valid_q[Stages-1] || out_ready_i;
  assign both          = left_valid_i && right_valid_i;
  assign left_ready_o  = enable && right_valid_i;
  assign right_ready_o = enable && left_valid_i;
  assign out_valid_o   = valid_q[Stages-1];

  if (Stages > 1) begin : gen_valids
    always_ff @(posedge clk_i) begin
      if (!rst_ni) valid_q <= '0;
      else if (enable) valid_q <= {valid_q[Stages-2:0], both};
    end
  end else begin : gen_valid
    always_ff @(posedge clk_i) begin
      if (!rst_ni) valid_q <= '0;
      else if (enable) valid_q <= both;
    end
  end

  // ---- Operands and their factors -------------------------------------------------------------
  logic [Lanes*LeftBits-1:0]   left;
  logic [Lanes*RightBits-1:0]  right;
  logic [Lanes*OutputBits-1:0] start;

  if (Fetches) begin : gen_fetch
    localparam int unsigned RowBits = (Rows > 1) ? $clog2(Rows) : 1;
    logic [RowBits-1:0] row;

    if (Rows > 1) begin : gen_rows
      // The counter runs one row ahead, so that row_q feeds nothing but the memories: synthesis
      // would build parts of them out of the counter's logic otherwise.
      logic [RowBits-1:0] row_q, next_q;
      assign row = row_q;
      always_ff @(posedge clk_i) begin
        if (!rst_ni) begin
          row_q  <= '0;
          next_q <= RowBits'(1);
        end else if (enable && both) begin
          row_q  <= next_q;
          next_q <= (next_q == RowBits'(Rows - 1)) ? '0 : next_q + 1'b1;
        end
      end
    end else begin : gen_one_row
      assign row = '0;
    end

    always_ff @(posedge clk_i) begin
      if (enable) begin
        left  <= left_data_i;
        right <= right_data_i;
      end
    end
  end else begin : gen_direct
    assign left  = left_data_i;
    assign right = right_data_i;
  end

  if (StartBits != 0) begin : gen_starts
    logic [Lanes*StartBits-1:0] memory [Rows];
    logic [Lanes*StartBits-1:0] start_q;
    if (MemoryPrefix != "") begin : gen_load
      initial $readmemh({MemoryPrefix, "start.mem"}, memory);
    end
    always_ff @(posedge clk_i) begin
      if (enable) start_q <= memory[gen_fetch.row];
    end
    for (genvar n = 0; n < Lanes; n++) begin : gen_lane
      assign start[n*OutputBits+:OutputBits] =
          OutputBits'($signed(start_q[n*StartBits+:StartBits]));
    end
  end else begin : gen_start
    assign start = {Lanes{OutputBits'(Start)}};
  end

  if (LeftFactorBits != 0) begin : gen_left_factors
    logic [Lanes*LeftFactorBits-1:0] memory [Rows];
    logic [Lanes*LeftFactorBits-1:0] factors_q;
    if (MemoryPrefix != "") begin : gen_load
      initial $readmemh({MemoryPrefix, "left.mem"}, memory);
    end
    always_ff @(posedge clk_i) begin
      if (enable) factors_q <= memory[gen_fetch.row];
    end
  end

  if (RightFactorBits != 0) begin : gen_right_factors
    logic [Lanes*RightFactorBits-1:0] memory [Rows];
    logic [Lanes*RightFactorBits-1:0] factors_q;
    if (MemoryPrefix != "") begin : gen_load
      initial $readmemh({MemoryPrefix, "right.mem"}, memory);
    end
    always_ff @(posedge clk_i) begin
      if (enable) factors_q <= memory[gen_fetch.row];
    end
  end

  // ---- Terms and their sum --------------------------------------------------------------------
  for (genvar n = 0; n < Lanes; n++) begin : gen_lane
    logic [OutputBits-1:0]  left_d, right_d, left_term, right_term, start_term, product_term;
    logic [ProductBits-1:0] product_d, product;
    logic [OutputBits-1:0]  left_scaled, right_scaled, start_scaled, product_scaled, sum_q;

    if (LeftFactorBits != 0) begin : gen_left
      variable_product #(
        .CountBits(LeftBits), .FactorBits(LeftFactorBits), .OutputBits(OutputBits)
      ) u_product (
        .count_i(left[n*LeftBits+:LeftBits]),
        .factor_i(gen_left_factors.factors_q[n*LeftFactorBits+:LeftFactorBits]),
        .product_o(left_d)
      );
    end else begin : gen_left_constant
      constant_product #(
        .CountBits(LeftBits), .Factor(LeftSize), .OutputBits(OutputBits)
      ) u_product (
        .count_i(left[n*LeftBits+:LeftBits]), .product_o(left_d)
      );
    end

    if (RightFactorBits != 0) begin : gen_right
      variable_product #(
        .CountBits(RightBits), .FactorBits(RightFactorBits), .OutputBits(OutputBits)
      ) u_product (
        .count_i(right[n*RightBits+:RightBits]),
        .factor_i(gen_right_factors.factors_q[n*RightFactorBits+:RightFactorBits]),
        .product_o(right_d)
      );
    end else begin : gen_right_constant
      constant_product #(
        .CountBits(RightBits), .Factor(RightSize), .OutputBits(OutputBits)
      ) u_product (
        .count_i(right[n*RightBits+:RightBits]), .product_o(right_d)
      );
    end

    if (Product != '0) begin : gen_product
      assign product_d = ProductBits'(left[n*LeftBits+:LeftBits]) *
                         ProductBits'(right[n*RightBits+:RightBits]);
    end else begin : gen_no_product
      assign product_d = '0;
    end

    if (Multiplies) begin : gen_multiply
      always_ff @(posedge clk_i) begin
        if (enable) begin
          left_term  <= left_d;
          right_term <= right_d;
          product    <= product_d;
          start_term <= start[n*OutputBits+:OutputBits];
        end
      end
    end else begin : gen_add_only
      assign left_term  = left_d;
      assign right_term = right_d;
      assign product    = product_d;
      assign start_term = start[n*OutputBits+:OutputBits];
    end

    constant_product #(
      .CountBits(ProductBits), .Factor(ProductSize), .OutputBits(OutputBits)
    ) u_scale (
      .count_i(product), .product_o(product_term)
    );

    if (Scales) begin : gen_scale
      always_ff @(posedge clk_i) begin
        if (enable) begin
          left_scaled    <= left_term;
          right_scaled   <= right_term;
          start_scaled   <= start_term;
          product_scaled <= product_term;
        end
      end
    end else begin : gen_no_scale
      assign left_scaled    = left_term;
      assign right_scaled   = right_term;
      assign start_scaled   = start_term;
      assign product_scaled = product_term;
    end

    always_ff @(posedge clk_i) begin
      if (enable) begin
        sum_q <= start_scaled + (LeftFactor[63] ? -left_scaled : left_scaled) +
                 (RightFactor[63] ? -right_scaled : right_scaled) +
                 (Product[63] ? -product_scaled : product_scaled);
      end
    end
    assign out_data_o[n*OutputBits+:OutputBits] = sum_q;
  end

endmodule

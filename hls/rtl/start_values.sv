// Start values of accumulators: one word for each output group of a vector, by border class.
//
// `word_o` follows a cycle with `read_i`, which also moves on to the next group. After `Folds`
// groups comes the next vector; where there are classes, vectors are the pixels of an image, row by
// row, and the class of the pixel's row and of its column select the words.
//
// Memories: start.mem, addressed {row class, column class, group}, each part rounded up to a power
// of two where there are classes, maps to LUT ROM or block RAM; row_classes.mem and
// column_classes.mem, one word per row and column, where there is more than one class. The first
// row and column have class 0. A single word is a constant, without a register.
module start_values #(
  parameter int unsigned Folds         = 4,
  parameter int unsigned Width         = 8,
  parameter int unsigned ImageRows     = 1,
  parameter int unsigned ImageColumns  = 1,
  parameter int unsigned RowClasses    = 1,
  parameter int unsigned ColumnClasses = 1,
  parameter              MemoryPrefix  = ""
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             read_i,
  output logic [Width-1:0] word_o
);

  localparam int unsigned FoldBits   = $clog2(Folds);
  localparam int unsigned ClassBits  = $clog2(RowClasses) + $clog2(ColumnClasses);
  localparam int unsigned AddressBits = ClassBits + FoldBits;
  localparam int unsigned Words = (ClassBits > 0) ? (32'd1 << AddressBits) : Folds;

  logic [Width-1:0] start [Words];
  if (MemoryPrefix != "") begin : gen_load
    initial $readmemh({MemoryPrefix, "start.mem"}, start);
  end

  if (Words > 1) begin : gen_words
    logic [AddressBits-1:0] address;
    logic                   last_fold;

    if (Folds > 1) begin : gen_fold
      address_counter #(
        .Words(Folds)
      ) u_fold (
        .clk_i, .rst_ni, .step_i(read_i), .address_o(address[FoldBits-1:0]), .last_o(last_fold)
      );
    end else begin : gen_one_fold
      assign last_fold = 1'b1;
    end

    if (ClassBits > 0) begin : gen_classes
      border_class #(
        .Rows(ImageRows), .Columns(ImageColumns),
        .RowClasses(RowClasses), .ColumnClasses(ColumnClasses), .MemoryPrefix(MemoryPrefix)
      ) u_class (
        .clk_i, .rst_ni, .next_i(read_i && last_fold), .class_o(address[AddressBits-1:FoldBits])
      );
    end else begin : gen_no_classes
      /* verilator lint_off UNUSEDSIGNAL */
      logic unused;
      assign unused = last_fold;
      /* verilator lint_on UNUSEDSIGNAL */
    end

    always_ff @(posedge clk_i) begin
      if (read_i) word_o <= start[address];
    end
  end else begin : gen_constant
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = clk_i ^ rst_ni ^ read_i;
    /* verilator lint_on UNUSEDSIGNAL */
    assign word_o = start[0];
  end

endmodule

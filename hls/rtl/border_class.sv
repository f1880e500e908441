// Border class of the pixels of an image, row by row: {class of the row, class of the column}.
//
// The class is that of the first pixel after a reset and moves on to the next one with `next_i`.
// The first row and column must have class 0.
//
// Memories: row_classes.mem and column_classes.mem, one word per row and column, read into a
// register; small, so LUT ROM. Where rows (or columns) have one class, there is neither memory nor
// class bit for them. At least one of the two has more.
module border_class #(
  parameter int unsigned Rows          = 4,
  parameter int unsigned Columns       = 4,
  parameter int unsigned RowClasses    = 2,
  parameter int unsigned ColumnClasses = 2,
  parameter              MemoryPrefix  = "",
  localparam int unsigned RowClassBits    = $clog2(RowClasses),
  localparam int unsigned ColumnClassBits = $clog2(ColumnClasses),
  localparam int unsigned ClassBits       = RowClassBits + ColumnClassBits
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic                 next_i,
  output logic [ClassBits-1:0] class_o
);

  // The counters are one pixel ahead, so that the memories' registers hold the current class.
  logic last_column;

  if (Columns > 1) begin : gen_column
    localparam int unsigned Bits = $clog2(Columns);
    logic [Bits-1:0] column_q;
    assign last_column = column_q == Bits'(Columns - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) column_q <= Bits'(1);
      else if (next_i) column_q <= last_column ? '0 : column_q + 1'b1;
    end

    if (ColumnClasses > 1) begin : gen_class
      logic [ColumnClassBits-1:0] column_classes [Columns];
      if (MemoryPrefix != "") begin : gen_load
        initial $readmemh({MemoryPrefix, "column_classes.mem"}, column_classes);
      end
      always_ff @(posedge clk_i) begin
        if (!rst_ni) class_o[ColumnClassBits-1:0] <= '0;
        else if (next_i) class_o[ColumnClassBits-1:0] <= column_classes[column_q];
      end
    end
  end else begin : gen_one_column
    assign last_column = 1'b1;
  end

  if (RowClasses > 1) begin : gen_row
    // With one column, the pixel ahead is in the next row already.
    localparam int unsigned Bits  = $clog2(Rows);
    localparam int unsigned Ahead = (Columns > 1) ? 0 : 1;
    logic [Bits-1:0]         row_q;
    logic [RowClassBits-1:0] row_classes [Rows];
    if (MemoryPrefix != "") begin : gen_load
      initial $readmemh({MemoryPrefix, "row_classes.mem"}, row_classes);
    end
    always_ff @(posedge clk_i) begin
      if (!rst_ni) row_q <= Bits'(Ahead);
      else if (next_i && last_column) begin
        row_q <= (row_q == Bits'(Rows - 1)) ? '0 : row_q + 1'b1;
      end
    end
    always_ff @(posedge clk_i) begin
      if (!rst_ni) class_o[ClassBits-1:ColumnClassBits] <= '0;
      else if (next_i) class_o[ClassBits-1:ColumnClassBits] <= row_classes[row_q];
    end
  end else begin : gen_one_row
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = last_column;
    /* verilator lint_on UNUSEDSIGNAL */
  end

endmodule

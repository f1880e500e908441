// Depth to space: blocks of channels become blocks of pixels.
//
// A row of the input is written into one half of a memory (LUTRAM or block RAM) while the other
// half is read as Block rows of the output. Within a row the beats of the input are at
// (pixel, i, j, group), or in CRD order at (pixel, group, i, j), of which the output wants
// (i, pixel, j, group). In CRD order, a group of Lanes output channels stands in Block^2 beats,
// lanes mixed; it is sorted into one beat for each (i, j) before it is written.
module depth_to_space #(
  parameter int unsigned Crd     = 0,  // 0 DCR order of input channels, 1 CRD
  parameter int unsigned Columns = 4,
  parameter int unsigned Groups  = 1,  // beats of an output pixel
  parameter int unsigned Block   = 2,
  parameter int unsigned Lanes   = 1,
  parameter int unsigned Bits    = 4
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

  localparam int unsigned Width       = Lanes * Bits;
  localparam int unsigned Area        = Block * Block;
  localparam int unsigned RowBeats    = Columns * Area * Groups;
  localparam int unsigned Words       = 2 * RowBeats;
  localparam int unsigned AddressBits = $clog2(Words);

  // ---- Beats with lanes of one pixel ----------------------------------------------------------
  logic             sorted_valid, sorted_ready;
  logic [Width-1:0] sorted_data;

  if (Crd != 0 && Lanes > 1) begin : gen_sort
    logic                  wide_valid, wide_ready;
    logic [Area*Width-1:0] wide_data, wide_sorted;

    stream_width_converter #(
      .Bits(Bits), .InputLanes(Lanes), .OutputLanes(Area * Lanes)
    ) u_widen (
      .clk_i, .rst_ni, .in_valid_i, .in_ready_o, .in_data_i,
      .out_valid_o(wide_valid), .out_ready_i(wide_ready), .out_data_o(wide_data)
    );
    for (genvar q = 0; q < Area; q++) begin : gen_pixel
      for (genvar l = 0; l < Lanes; l++) begin : gen_lane
        assign wide_sorted[(q*Lanes+l)*Bits+:Bits] = wide_data[(l*Area+q)*Bits+:Bits];
      end
    end
    stream_width_converter #(
      .Bits(Bits), .InputLanes(Area * Lanes), .OutputLanes(Lanes)
    ) u_narrow (
      .clk_i, .rst_ni,
      .in_valid_i(wide_valid), .in_ready_o(wide_ready), .in_data_i(wide_sorted),
      .out_valid_o(sorted_valid), .out_ready_i(sorted_ready), .out_data_o(sorted_data)
    );
  end else begin : gen_in_order
    assign sorted_valid = in_valid_i;
    assign in_ready_o   = sorted_ready;
    assign sorted_data  = in_data_i;
  end

  // ---- Rows held: written, and not read to the end --------------------------------------------
  logic [1:0] rows_q;
  logic       write, read, row_written, row_read, last_write;

  assign sorted_ready = rows_q != 2'd2;
  assign write        = sorted_valid && sorted_ready;
  assign row_written  = write && last_write;

  frame_counter #(.Beats(RowBeats)) u_written (
    .clk_i, .rst_ni, .beat_i(write), .last_o(last_write)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) rows_q <= '0;
    else if (row_written && !row_read) rows_q <= rows_q + 1'b1;
    else if (row_read && !row_written) rows_q <= rows_q - 1'b1;
  end

  // ---- The order of reading -------------------------------------------------------------------
  // Distances in the memory from one group, j and pixel to the next, and back to where they began.
  localparam int unsigned GroupStep  = (Crd != 0) ? Area : 1;
  localparam int unsigned AcrossStep = (Crd != 0) ? 1 : Groups;
  localparam int unsigned DownStep   = (Crd != 0) ? Block : Block * Groups;
  localparam int unsigned PixelStep  = Area * Groups;
  localparam int unsigned GroupBack  = (Groups - 1) * GroupStep;
  localparam int unsigned AcrossBack = GroupBack + (Block - 1) * AcrossStep;
  localparam int unsigned PixelBack  = AcrossBack + (Columns - 1) * PixelStep;

  logic                   last_group, last_across, last_pixel, last_down;
  logic                   group_end, across_end, pixel_end;
  logic [AddressBits-1:0] write_q, read_q, step;

  assign group_end  = read && last_group;
  assign across_end = group_end && last_across;
  assign pixel_end  = across_end && last_pixel;
  assign row_read   = pixel_end && last_down;

  frame_counter #(.Beats(Groups)) u_group (
    .clk_i, .rst_ni, .beat_i(read), .last_o(last_group)
  );
  frame_counter #(.Beats(Block)) u_across (
    .clk_i, .rst_ni, .beat_i(group_end), .last_o(last_across)
  );
  frame_counter #(.Beats(Columns)) u_pixel (
    .clk_i, .rst_ni, .beat_i(across_end), .last_o(last_pixel)
  );
  frame_counter #(.Beats(Block)) u_down (
    .clk_i, .rst_ni, .beat_i(pixel_end), .last_o(last_down)
  );

  always_comb begin
    if (!last_group) step = AddressBits'(GroupStep);
    else if (!last_across) step = AddressBits'(AcrossStep - GroupBack);
    else if (!last_pixel) step = AddressBits'(PixelStep - AcrossBack);
    else if (!last_down) step = AddressBits'(DownStep - PixelBack);
    else step = AddressBits'(1);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= '0;
    end else begin
      if (write) write_q <= (write_q == AddressBits'(Words - 1)) ? '0 : write_q + 1'b1;
      if (read) read_q <= (row_read && read_q == AddressBits'(Words - 1)) ? '0 : read_q + step;
    end
  end

  // ---- The memory, and its output register ----------------------------------------------------
  logic [Width-1:0] memory [Words];
  logic [Width-1:0] out_data_q;
  logic             out_valid_q, advance;

  assign advance     = !out_valid_q || out_ready_i;
  assign read        = advance && rows_q != '0;
  assign out_valid_o = out_valid_q;
  assign out_data_o  = out_data_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_valid_q <= 1'b0;
    else if (advance) out_valid_q <= rows_q != '0;
  end
  always_ff @(posedge clk_i) begin
    if (write) memory[write_q] <= sorted_data;
    if (read) out_data_q <= memory[read_q];
  end

endmodule

"""Running what was emitted: SystemVerilog in Verilator, HLS C++ under g++."""

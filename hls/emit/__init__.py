"""Files of the accelerator: SystemVerilog, HLS C++, scripts for Vivado."""

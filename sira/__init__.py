"""Scaled-integer range analysis and a compiler from quantized networks to FPGA dataflow."""

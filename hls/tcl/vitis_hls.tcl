# Synthesises the C++ accelerator with Vitis HLS and exports it as an IP core:
#   vitis-run --mode hls --tcl vitis_hls.tcl      (before 2024.1: vitis_hls -f vitis_hls.tcl)
# The project folder appears in the current directory.
set here [file dirname [file normalize [info script]]]
source [file join $here settings.tcl]
set sources [file normalize [file join $here .. hls]]

open_project -reset accelerator_hls
set_top accelerator
add_files [list [file join $sources accelerator.cpp]] -cflags "-std=c++14 -I$sources"

open_solution -reset solution1 -flow_target vivado
set_part $part
create_clock -period $clock_period_ns -name default
csynth_design
export_design -format ip_catalog -rtl verilog -ipname $ip_name
exit

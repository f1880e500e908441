# Out-of-context synthesis of the SystemVerilog accelerator, with reports of utilisation and timing:
#   vivado -mode batch -source synth_ooc.tcl
set here [file dirname [file normalize [info script]]]
source [file join $here settings.tcl]
set rtl [file normalize [file join $here .. rtl]]

create_project -in_memory -part $part
read_verilog -sv [lsort [glob -directory $rtl *.sv]]
set memories [lsort [glob -nocomplain -directory $rtl *.mem]]
if {[llength $memories] > 0} {
    read_mem $memories
}
# Read before synthesis, so that synthesis is driven by the clock.
read_xdc -mode out_of_context [list [file join $here clock.xdc]]

synth_design -top accelerator -part $part -mode out_of_context -flatten_hierarchy rebuilt

report_utilization -file [file join $here utilization.rpt]
report_utilization -hierarchical -hierarchical_depth 2 \
    -file [file join $here utilization_by_layer.rpt]
report_timing_summary -delay_type max -max_paths 10 -file [file join $here timing.rpt]
write_checkpoint -force [file join $here accelerator.dcp]

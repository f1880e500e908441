# Packages the SystemVerilog accelerator as an IP core with AXI4-Stream interfaces:
#   vivado -mode batch -source package_ip.tcl
# The core is written to the folder ip; add that folder to a project's IP repositories.
set here [file dirname [file normalize [info script]]]
source [file join $here settings.tcl]
set rtl [file normalize [file join $here .. rtl]]

# Vivado infers interfaces from port names by itself; what it missed is inferred explicitly.
proc infer_interface {name ports abstraction core} {
    if {[llength [ipx::get_bus_interfaces -quiet $name -of_objects $core]] == 0} {
        ipx::infer_bus_interface $ports $abstraction $core
    }
}

create_project -force -part $part accelerator_ip [file join $here ip_project]
add_files -norecurse [lsort [glob -directory $rtl *.sv]]
set memories [lsort [glob -nocomplain -directory $rtl *.mem]]
if {[llength $memories] > 0} {
    add_files -norecurse $memories
}
set_property top accelerator [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir [file join $here ip] -vendor user.org -library user \
    -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name $ip_name $core
set_property version 1.0 $core
set_property display_name $ip_name $core
set_property description "Streaming neural network accelerator" $core

infer_interface ap_clk ap_clk xilinx.com:signal:clock_rtl:1.0 $core
infer_interface ap_rst_n ap_rst_n xilinx.com:signal:reset_rtl:1.0 $core
foreach stream [concat $input_streams $output_streams] {
    set ports {}
    foreach signal {tdata tvalid tready tlast} {
        lappend ports ${stream}_$signal
    }
    infer_interface $stream $ports xilinx.com:interface:axis_rtl:1.0 $core
    ipx::associate_bus_interfaces -busif $stream -clock ap_clk $core
}
ipx::associate_bus_interfaces -clock ap_clk -reset ap_rst_n $core
set polarity [ipx::add_bus_parameter -quiet POLARITY \
    [ipx::get_bus_interfaces ap_rst_n -of_objects $core]]
set_property value ACTIVE_LOW $polarity

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project

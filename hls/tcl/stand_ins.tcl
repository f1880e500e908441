# Stand-ins for the Vivado and Vitis HLS commands that the scripts of this folder use, to check a
# script without the tools: `check_script FILE` runs it in a safe interpreter that knows only the
# commands below and returns a list of the error ("" if none) and the calls.
#
# Commands and options are those of UG835 (Vivado Tcl), UG1118 (IP packager) and UG1399 (Vitis HLS).
# A row of the table: name, options with a value, flags, least and most number of other arguments,
# commands that must have been called before (a|b: one of them), result.
set stand_ins {
    {create_project  {-part} {-in_memory -force} 0 2 {} project}
    {current_fileset {} {} 0 0 {create_project} sources_1}
    {read_verilog    {-library} {-sv} 1 1 {create_project} {}}
    {read_mem        {} {} 1 1 {create_project} {}}
    {read_xdc        {-mode} {} 1 1 {create_project} {}}
    {synth_design    {-top -part -mode -flatten_hierarchy} {} 0 0 {read_verilog read_xdc} design}
    {report_utilization {-file -hierarchical_depth} {-hierarchical} 0 0 {synth_design} {}}
    {report_timing_summary {-delay_type -max_paths -file} {} 0 0 {synth_design} {}}
    {write_checkpoint {} {-force} 1 1 {synth_design} {}}
    {create_clock    {-period -name} {} 0 1 {read_xdc|open_solution} {}}
    {get_ports       {} {} 1 1 {read_xdc} ports}
    {set_property    {} {} 3 3 {create_project} {}}
    {update_compile_order {-fileset} {} 0 0 {add_files} {}}
    {close_project   {} {} 0 0 {create_project} {}}

    {ipx::package_project {-root_dir -vendor -library -taxonomy} {-import_files -force} 0 0
        {create_project add_files update_compile_order} {}}
    {ipx::current_core {} {} 0 0 {ipx::package_project} core}
    {ipx::get_bus_interfaces {-of_objects} {-quiet} 1 1 {ipx::package_project} {}}
    {ipx::infer_bus_interface {} {} 3 3 {ipx::package_project} {}}
    {ipx::associate_bus_interfaces {-busif -clock -reset} {} 1 1 {ipx::infer_bus_interface} {}}
    {ipx::add_bus_parameter {} {-quiet} 2 2 {ipx::get_bus_interfaces} parameter}
    {ipx::create_xgui_files {} {} 1 1 {ipx::package_project} {}}
    {ipx::update_checksums {} {} 1 1 {ipx::create_xgui_files} {}}
    {ipx::check_integrity {} {} 1 1 {ipx::update_checksums} {}}
    {ipx::save_core {} {} 1 1 {ipx::update_checksums} {}}

    {open_project    {} {-reset} 1 1 {} {}}
    {set_top         {} {} 1 1 {open_project} {}}
    {add_files       {-cflags} {-norecurse} 1 1 {create_project|open_project} {}}
    {open_solution   {-flow_target} {-reset} 1 1 {open_project} {}}
    {set_part        {} {} 1 1 {open_solution} {}}
    {csynth_design   {} {} 0 0 {set_top add_files set_part create_clock} {}}
    {export_design   {-format -rtl -ipname} {} 0 0 {csynth_design} {}}
    {exit            {} {} 0 0 {export_design} {}}
}

# Commands whose argument is a list of files, which must exist.
set takes_files {add_files read_mem read_verilog read_xdc}

# Checks one call against its row of the table and records it.
proc stand_in {box row args} {
    lassign $row name valued flags least most before result
    lappend ::calls [list $name {*}$args]
    foreach alternatives $before {
        set found 0
        foreach earlier [split $alternatives |] {
            if {$earlier in $::called} { set found 1 }
        }
        if {!$found} { error "$name: $alternatives must be called before" }
    }
    set positional {}
    for {set i 0} {$i < [llength $args]} {incr i} {
        set argument [lindex $args $i]
        if {$argument in $valued} {
            incr i
            if {$i == [llength $args]} { error "$name: $argument needs a value" }
            set value [lindex $args $i]
            # Only compiler flags start with a dash themselves.
            if {[string match -* $value] && $argument ne "-cflags"} {
                error "$name: $argument needs a value, not $value"
            }
        } elseif {[string match -* $argument]} {
            if {$argument ni $flags} { error "$name: unknown option $argument" }
        } else {
            lappend positional $argument
        }
    }
    set count [llength $positional]
    if {$count < $least || $count > $most} {
        error "$name: $count arguments, expected $least to $most"
    }
    if {$name in $::takes_files} {
        foreach path [lindex $positional 0] {
            if {![file exists $path]} { error "$name: no file $path" }
        }
    }
    lappend ::called $name
    if {$name eq "read_xdc"} { source_stand_in $box [lindex $args end 0] }
    return $result
}

# A safe interpreter has no access to files: what scripts need to find files is given to them.
proc file_stand_in {subcommand args} {
    if {$subcommand ni {dirname exists join normalize tail}} {
        error "file $subcommand: not known to the stand-ins"
    }
    return [file $subcommand {*}$args]
}

proc source_stand_in {box path} {
    return [interp invokehidden $box source $path]
}

proc check_script {path} {
    set ::calls {}
    set ::called {}
    set box [interp create -safe]
    interp eval $box {namespace eval ipx {}}
    foreach row $::stand_ins {
        interp alias $box [lindex $row 0] {} stand_in $box $row
    }
    interp alias $box file {} file_stand_in
    interp alias $box glob {} glob
    interp alias $box source {} source_stand_in $box
    set failed [catch {source_stand_in $box $path} message options]
    interp delete $box
    if {!$failed} { return [list "" $::calls] }
    if {[regexp {\(file "[^"]*" line (\d+)\)} [dict get $options -errorinfo] -> line]} {
        set message "line $line: $message"
    }
    return [list $message $::calls]
}

# One line each: the error, then the calls.
proc report_script {path} {
    lassign [check_script $path] message calls
    set lines [list [string map {\n " "} $message]]
    foreach call $calls { lappend lines [string map {\n " "} $call] }
    return [join $lines \n]
}

if {[info exists argv] && [llength $argv] == 1} {
    puts [report_script [lindex $argv 0]]
}

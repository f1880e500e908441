"""The Vivado and Vitis scripts, run against stand-ins of the vendor's commands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hls.dataflow import Dataflow, Edge, Port
from hls.emit.vivado import TclCheck, TclTool, check_tcl, emit_vivado, scripts
from hls.layers.width_converter import WidthConverter

PART = "xczu3eg-sbva484-1-e"

ONE_STREAM = Dataflow(
    "digits-w2a2",
    (WidthConverter("converter", 8, 2, 4, 3),),
    (Edge(Port("", "x"), Port("converter", "in")), Edge(Port("converter", "out"), Port("", "y"))),
)

TWO_STREAMS = Dataflow(
    "two",
    (WidthConverter("a", 8, 2, 4, 3), WidthConverter("b", 8, 2, 4, 3)),
    tuple(
        edge
        for name in "ab"
        for edge in (
            Edge(Port("", name), Port(name, "in")),
            Edge(Port(name, "out"), Port("", name)),
        )
    ),
)


def build(folder: Path, dataflow: Dataflow = ONE_STREAM, clock_mhz: float = 300) -> Path:
    """The scripts' folder beside ``rtl`` and ``hls`` with a design."""
    for name in ("rtl/accelerator.sv", "rtl/adder_tree.sv", "rtl/w.mem", "hls/accelerator.cpp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    emit_vivado(dataflow, folder / "vivado", PART, clock_mhz)
    return folder / "vivado"


def checked(script: Path, *tools: TclTool) -> TclCheck:
    """The check of a script, by one of these tools if given; the test is skipped without one."""
    check = check_tcl(script, tools) if tools else check_tcl(script)
    if not check.ran:
        pytest.skip(f"no Tcl here: {' or '.join(tools or ('tclsh', 'tkinter'))}")
    return check


def run(script: Path) -> list[str]:
    """The calls of a script that must pass."""
    check = checked(script)
    assert check.passed, check.error
    return list(check.calls)


def in_order(calls: list[str], *starts: str) -> bool:
    """Whether calls that start like this occur in this order."""
    rest = iter(calls)
    return all(any(call.startswith(start) for call in rest) for start in starts)


@pytest.mark.parametrize("tool", ["tclsh", "tkinter"])
def test_both_tools_agree(tmp_path: Path, tool: TclTool) -> None:
    folder = build(tmp_path / "a folder [1] $x")
    for script in scripts("both"):
        check = checked(folder / script, tool)
        assert check.passed and check.tool == tool and check.calls
        assert check.calls == check_tcl(folder / script).calls


def test_synthesis(tmp_path: Path) -> None:
    folder = build(tmp_path)
    calls = run(folder / "synth_ooc.tcl")
    assert in_order(
        calls,
        f"create_project -in_memory -part {PART}",
        f"read_verilog -sv {{{tmp_path}/rtl/accelerator.sv {tmp_path}/rtl/adder_tree.sv}}",
        f"read_mem {tmp_path}/rtl/w.mem",
        f"read_xdc -mode out_of_context {folder}/clock.xdc",
        "create_clock -period 3.333 -name ap_clk",
        f"synth_design -top accelerator -part {PART} -mode out_of_context",
        "report_utilization",
        "report_timing_summary",
        "write_checkpoint",
    )


def test_packaging(tmp_path: Path) -> None:
    calls = run(build(tmp_path, TWO_STREAMS) / "package_ip.tcl")
    assert in_order(
        calls,
        "create_project -force -part " + PART,
        "add_files",
        "set_property top accelerator",
        "ipx::package_project",
        "set_property name two core",
        "ipx::infer_bus_interface ap_clk xilinx.com:signal:clock_rtl:1.0",
        "ipx::associate_bus_interfaces -clock ap_clk -reset ap_rst_n",
        "set_property value ACTIVE_LOW",
        "ipx::save_core",
    )
    for stream in ("s_axis_a", "s_axis_b", "m_axis_a", "m_axis_b"):
        ports = " ".join(f"{stream}_{signal}" for signal in ("tdata", "tvalid", "tready", "tlast"))
        assert in_order(
            calls,
            f"ipx::infer_bus_interface {{{ports}}} xilinx.com:interface:axis_rtl:1.0 core",
            f"ipx::associate_bus_interfaces -busif {stream} -clock ap_clk core",
        )


def test_vitis(tmp_path: Path) -> None:
    calls = run(build(tmp_path) / "vitis_hls.tcl")
    assert in_order(
        calls,
        "open_project -reset",
        "set_top accelerator",
        f"add_files {tmp_path}/hls/accelerator.cpp",
        "open_solution",
        f"set_part {PART}",
        "create_clock -period 3.333",
        "csynth_design",
        "export_design -format ip_catalog -rtl verilog -ipname digits_w2a2",
    )


def test_period_is_never_looser(tmp_path: Path) -> None:
    for mhz, period in ((100, "10.000"), (300, "3.333"), (450, "2.222"), (33.3, "30.030")):
        emit_vivado(ONE_STREAM, tmp_path, PART, mhz)
        assert f"-period {period} " in (tmp_path / "clock.xdc").read_text()
        assert float(period) <= 1000 / mhz


def test_reproducible_and_honest(tmp_path: Path) -> None:
    first = emit_vivado(ONE_STREAM, tmp_path / "a", PART, 200)
    second = emit_vivado(ONE_STREAM, tmp_path / "b", PART, 200)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert {path.name for path in first} == {p.name for p in (tmp_path / "a").iterdir()}
    readme = (tmp_path / "a" / "README.md").read_text()
    assert "None of these scripts has been run with the vendor's tools" in readme


@pytest.mark.parametrize("tool", ["tclsh", "tkinter"])
@pytest.mark.parametrize(
    ("script", "old", "new", "error"),
    [
        ("synth_ooc.tcl", "-mode out_of_context -fl", "-moed out_of_context -fl", "option -moed"),
        ("synth_ooc.tcl", "synth_design", "synth_desing", 'command name "synth_desing"'),
        ("synth_ooc.tcl", "> 0} {", "> 0 {", "missing close-brace"),
        ("synth_ooc.tcl", "[lsort [glob -directory $rtl *.sv]]", "[lsort", "missing close-bracket"),
        ("synth_ooc.tcl", "$part -mode", "-mode", "-part needs a value, not -mode"),
        ("synth_ooc.tcl", "*.sv", "*.vhd", "no files matched"),
        ("synth_ooc.tcl", "[file join $here clock.xdc]", "none.xdc", "read_xdc: no file none.xdc"),
        ("vitis_hls.tcl", "$sources accelerator.cpp", "a.cpp", "add_files: no file a.cpp"),
        ("package_ip.tcl", "$core\nclose", "$kern\nclose", '"kern": no such variable'),
        ("package_ip.tcl", "ipx::save_core $core", "ipx::save_core", "0 arguments, expected 1"),
        ("vitis_hls.tcl", "set_top", "exec ls; set_top", 'command name "exec"'),
        ("vitis_hls.tcl", "set_part $part\n", "", "csynth_design: set_part must be called before"),
    ],
)
def test_faults_are_found(
    tmp_path: Path, tool: TclTool, script: str, old: str, new: str, error: str
) -> None:
    path = build(tmp_path) / script
    text = path.read_text()
    assert text.count(old) == 1 or old in ("synth_design", "> 0} {")
    path.write_text(text.replace(old, new))
    check = checked(path, tool)
    assert not check.passed
    assert error in check.error


def test_constraints_are_checked(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (folder / "clock.xdc").write_text("create_clock -period 5 -nmae ap_clk [get_ports ap_clk]\n")
    assert "create_clock: unknown option -nmae" in checked(folder / "synth_ooc.tcl").error


def test_scripts_of_a_back_end(tmp_path: Path) -> None:
    for backend in ("verilog", "hls"):
        names = {path.name for path in emit_vivado(ONE_STREAM, tmp_path, PART, 100, backend)}
        assert names == {"README.md", "settings.tcl", "clock.xdc", *scripts(backend)}
    assert {*scripts("verilog"), *scripts("hls")} == {*scripts("both")}


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("report_utilization", "synth_design"),
        ("write_checkpoint", "synth_design"),
        ("synth_design", "read_xdc"),
    ],
)
def test_order_is_checked(tmp_path: Path, early: str, late: str) -> None:
    path = build(tmp_path) / "synth_ooc.tcl"
    lines = path.read_text().replace("\\\n", " ").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(late))
    moved = next(line for line in lines if line.startswith(early))
    lines.remove(moved)
    lines.insert(at, moved)
    path.write_text("\n".join(lines))
    assert f"{early}: {late} must be called before" in checked(path).error


def test_without_tcl_it_has_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = build(tmp_path) / "synth_ooc.tcl"
    monkeypatch.setattr("hls.emit.vivado._with_tclsh", lambda _: None)
    monkeypatch.setattr("hls.emit.vivado._with_tkinter", lambda _: "\nsynth_design\n")
    assert check_tcl(script) == TclCheck(ran=True, calls=("synth_design",), tool="tkinter")
    monkeypatch.setattr("hls.emit.vivado._with_tkinter", lambda _: None)
    check = check_tcl(script)
    assert not check.ran and not check.passed and check.tool is None


def test_tools_that_do_not_work_have_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = build(tmp_path) / "synth_ooc.tcl"
    broken = tmp_path / "tclsh"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not check_tcl(script, ("tclsh",)).ran
    monkeypatch.setitem(sys.modules, "tkinter", None)  # Importing it fails.
    assert not check_tcl(script).ran


@pytest.mark.parametrize(
    ("name", "ip_name"), [("4-bit Net", "layer_4_bit_net"), ("_x", "x"), ("", "layer")]
)
def test_ip_name_starts_with_a_letter(tmp_path: Path, name: str, ip_name: str) -> None:
    dataflow = Dataflow(name, ONE_STREAM.layers, ONE_STREAM.edges)
    emit_vivado(dataflow, tmp_path, PART, 100)
    assert f"set ip_name {ip_name}\n" in (tmp_path / "settings.tcl").read_text()

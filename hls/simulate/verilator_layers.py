"""Each layer as a model of its own, under a model of the top that holds stubs of them.

What leaves a layer's module depends on its registers alone, so one exchange of values per clock
cycle is all that the layers need: in every cycle, the clocked process of a stub hands what its
inputs are before the edge to the layer's own library and takes what its outputs are after it. That
is cycle for cycle what the whole design does in one model. The libraries build side by side, layers
that differ in nothing but the contents of their memories share one, and a design of which one layer
has changed builds that layer and the top.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hls.simulate.toolchain import VerilatedModel

_LAYER = "layer"
"""What every layer's module is called in its own model, so that equal ones are built once."""


@dataclass(frozen=True)
class _Signal:
    """A port of a layer's module; ``word`` is the first of the 32-bit words that carry it."""

    name: str
    bits: int
    word: int

    @property
    def words(self) -> int:
        return _words(self.bits)


@dataclass(frozen=True)
class _Module:
    """A layer's module: its text up to the end of the port list, the rest, and its ports."""

    name: str
    head: str
    body: str
    inputs: tuple[_Signal, ...]  # without the clock
    outputs: tuple[_Signal, ...]


def layer_models(rtl: Path, names: Sequence[str], options: Sequence[str]) -> list[VerilatedModel]:
    """The models of the layers in the folder ``rtl``, whose modules are called ``names``."""
    library = _library(rtl, names)
    models = []
    for name in names:
        module = _module(rtl, name)
        head = module.head.replace(f"module {name} (", f"module {_LAYER} (")
        body = module.body.replace(f'.MemoryPrefix("{name}_")', f'.MemoryPrefix("{_LAYER}_")')
        texts = {f"{part}.sv": library[part] for part in _parts(module.body, library)}
        texts[f"{_LAYER}.sv"] = head + body
        models.append(
            VerilatedModel(
                {file: text.encode() for file, text in texts.items()},
                "verilator_layer.cpp",
                _layer_interface(module),
                ("--top-module", _LAYER, *options),
            )
        )
    return models


def top_model(
    rtl: Path, names: Sequence[str], interface: str, top: str, options: Sequence[str]
) -> VerilatedModel:
    """The model of the top with stubs for the layers ``names``; ``interface`` is the harness's."""
    library = _library(rtl, names)
    text = _text(rtl / f"{top}.sv")
    texts = {f"{part}.sv": library[part] for part in _parts(text, library)}
    texts |= {f"{name}.sv": _stub(_module(rtl, name), i) for i, name in enumerate(names)}
    texts[f"{top}.sv"] = text
    return VerilatedModel(
        {file: text.encode() for file, text in texts.items()},
        "verilator_harness.cpp",
        interface,
        ("--top-module", top, *options),
    )


def link_memories(rtl: Path, name: str, folder: Path) -> None:
    """Put the memory files of the layer ``name`` into ``folder``, as its model names them."""
    for path in rtl.glob(f"{name}_*.mem"):
        (folder / (_LAYER + path.name.removeprefix(name))).symlink_to(path.resolve())


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{path}: {error}") from error


def _library(rtl: Path, names: Sequence[str]) -> dict[str, str]:
    """The texts of the modules that are no layers, by name."""
    return {path.stem: _text(path) for path in sorted(rtl.glob("*.sv")) if path.stem not in names}


def _parts(text: str, library: Mapping[str, str]) -> list[str]:
    """The modules of the library that a text uses, and those that they use."""
    used: dict[str, None] = {}
    waiting = [text]
    while waiting:
        code = re.sub(r"//.*", "", waiting.pop())
        found = [word for word in re.findall(r"\w+", code) if word in library and word not in used]
        used.update(dict.fromkeys(found))
        waiting += [library[word] for word in dict.fromkeys(found)]
    return sorted(used)


def _module(rtl: Path, name: str) -> _Module:
    """Read a layer's module as the emitter writes it."""
    path = rtl / f"{name}.sv"
    text = _text(path)
    head = re.search(rf"^module {name} \([^;]*\);", text, re.MULTILINE)
    ports = re.findall(r"(input |output) logic (?:\[(\d+):0\] )?(\w+)", head[0]) if head else []
    if head is None or ("input ", "", "clk_i") not in ports:
        raise RuntimeError(f"{path}: no module of a layer called {name}")
    signals: dict[str, list[_Signal]] = {"input ": [], "output": []}
    for direction, high, port in ports:
        if port != "clk_i":
            earlier = signals[direction]
            word = earlier[-1].word + earlier[-1].words if earlier else 0
            earlier.append(_Signal(port, int(high or 0) + 1, word))
    inputs, outputs = (tuple(found) for found in signals.values())
    return _Module(name, head[0], text[head.end() :], inputs, outputs)


def _words(bits: int) -> int:
    return (bits + 31) // 32


def _total(signals: Sequence[_Signal]) -> int:
    return sum(signal.words for signal in signals)


def _stub(module: _Module, index: int) -> str:
    """A module with the same ports that hands every clock cycle on to ``layer_<index>``."""

    def lines() -> Iterator[str]:
        packed = (f"{32 * s.words}'({s.name})" for s in reversed(module.inputs))
        yield module.head
        yield f"  bit [{32 * _total(module.outputs) - 1}:0] outputs, outputs_q;"
        yield f'  import "DPI-C" function void layer_{index}('
        yield f"    input bit [{32 * _total(module.inputs) - 1}:0] inputs,"
        yield f"    output bit [{32 * _total(module.outputs) - 1}:0] outputs"
        yield "  );"
        yield "  always_ff @(posedge clk_i) begin"
        yield f"    layer_{index}({{{', '.join(packed)}}}, outputs);"
        yield "    outputs_q <= outputs;"
        yield "  end"
        for signal in module.outputs:
            yield f"  assign {signal.name} = outputs_q[{32 * signal.word}+:{signal.bits}];"
        yield "endmodule"

    return "\n".join(lines()) + "\n"


def _layer_interface(module: _Module) -> str:
    """``interface.h`` of a layer's own model."""

    def signals(macro: str, ports: Sequence[_Signal]) -> list[str]:
        entries = [f"  X({s.name}, {s.word}, {s.bits})" for s in ports]
        return [
            f"#define {macro[:-1]}_WORDS {_total(ports)}",
            " \\\n".join([f"#define {macro}(X)", *entries]),
        ]

    lines = ["#define CLOCK clk_i", *signals("INPUTS", module.inputs)]
    return "\n".join([*lines, *signals("OUTPUTS", module.outputs)]) + "\n"

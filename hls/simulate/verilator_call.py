"""The call into a compiled model: whole batches of beats in and out, see the harness in C++."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Ints


@dataclass(frozen=True)
class Beats:
    """The beats of a stream (n, bytes), to send or to be filled in.

    ``completed`` is filled in with the cycle in which each frame of an output was complete.
    """

    data: NDArray[np.uint8]
    frame_beats: int
    completed: Ints | None = None


@dataclass(frozen=True)
class LayerLibrary:
    """The library of a layer, and the folder with its memory files as the library names them."""

    name: str
    library: Path
    folder: Path


@dataclass(frozen=True)
class RunStatus:
    """How a run ended: a status of the harness (0: well), where it failed, and cycles."""

    status: int
    cycles: int
    failed_source: int
    failed_beat: int
    message: str


def simulate(
    library: Path,
    folder: Path,
    sinks: Sequence[Beats],
    sources: Sequence[Beats],
    layers: Sequence[LayerLibrary],
    *,
    seed: int,
    stall_in: float,
    stall_out: float,
    reset_after: int,
    idle_limit: int,
    drain: int,
) -> RunStatus:
    """Run beats through a model; the meaning of the arguments is that of the harness's request."""
    request = _Request(
        folder=os.fsencode(folder.resolve()),
        seed=seed,
        stall_in=stall_in,
        stall_out=stall_out,
        reset_after=reset_after,
        idle_limit=idle_limit,
        drain=drain,
        sinks=_streams(sinks),
        sources=_streams(sources),
        layers=(_LayerStruct * len(layers))(*map(_layer, layers)),
    )
    status = ctypes.CDLL(str(library)).simulate(ctypes.byref(request))
    return RunStatus(
        status,
        request.cycles,
        request.failed_source,
        request.failed_beat,
        request.message.decode(errors="replace"),
    )


class _StreamStruct(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("beats", ctypes.c_uint64),
        ("frame_beats", ctypes.c_uint64),
        ("completed", ctypes.c_void_p),
    )


class _LayerStruct(ctypes.Structure):
    _fields_ = (
        ("create", ctypes.c_void_p),
        ("tick", ctypes.c_void_p),
        ("destroy", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("folder", ctypes.c_char_p),
    )


class _Request(ctypes.Structure):
    _fields_ = (
        ("folder", ctypes.c_char_p),
        ("seed", ctypes.c_uint64),
        ("stall_in", ctypes.c_double),
        ("stall_out", ctypes.c_double),
        ("reset_after", ctypes.c_uint64),
        ("idle_limit", ctypes.c_uint64),
        ("drain", ctypes.c_uint64),
        ("sinks", ctypes.POINTER(_StreamStruct)),
        ("sources", ctypes.POINTER(_StreamStruct)),
        ("layers", ctypes.POINTER(_LayerStruct)),
        ("cycles", ctypes.c_uint64),
        ("failed_source", ctypes.c_uint64),
        ("failed_beat", ctypes.c_uint64),
        ("message", ctypes.c_char * 512),
    )


def _streams(ports: Sequence[Beats]) -> ctypes.Array[_StreamStruct]:
    streams = (_StreamStruct * len(ports))()
    for entry, beats in zip(streams, ports, strict=True):
        entry.data = beats.data.ctypes.data
        entry.beats = len(beats.data)
        entry.frame_beats = beats.frame_beats
        entry.completed = None if beats.completed is None else beats.completed.ctypes.data
    return streams


def _layer(layer: LayerLibrary) -> _LayerStruct:
    loaded = ctypes.CDLL(str(layer.library))
    functions = (loaded.create_layer, loaded.tick_layer, loaded.destroy_layer)
    return _LayerStruct(
        *(ctypes.cast(function, ctypes.c_void_p) for function in functions),
        layer.name.encode(),
        os.fsencode(layer.folder),
    )

"""What the files of a build folder may hold: their types, as JSON's own and as JSON Schema."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from msgspec import Struct

from sira.schema.metadata import Metadata
from sira.schema.report import AnalysisReport, Report


def builtins(record: Report | AnalysisReport | Metadata) -> dict[str, Any]:
    """The record as JSON's own types, its keys in the order in which they are written."""
    contents: dict[str, Any] = msgspec.to_builtins(record)
    return contents


def json_schema(*types: type[Struct]) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) that a file of any of these types meets."""
    references, definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    for definition in definitions.values():
        definition["description"] = inspect.cleandoc(definition["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "anyOf": list(references),
        "$defs": definitions,
    }


FILES: dict[str, tuple[type[Struct], ...]] = {
    "report.json": (Report, AnalysisReport),
    "metadata.json": (Metadata,),
}
"""The types that a file may have, by its name."""

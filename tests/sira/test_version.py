"""The name and version that the commands and the package tell."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import sira
from sira.driver.cli import main, verify_main

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which a distribution of version 9.8.7 is installed."""
    metadata = tmp_path / "sira_compile-9.8.7.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: 9.8.7\n")
    return os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}


def output(environment: dict[str, str], *arguments: str) -> str:
    # The root may hold what an installation left there, which would come first.
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=ROOT / "tests",
    )
    assert done.stderr == ""
    return done.stdout


def test_version_of_the_installed_distribution(installed: dict[str, str]) -> None:
    assert output(installed, "-m", "sira", "--version") == "sira-compile 9.8.7\n"
    code = "from sira.driver.cli import verify_main; verify_main(['--version'])"
    assert output(installed, "-c", code) == "sira-verify 9.8.7\n"
    assert output(installed, "-c", "import sira; print(sira.__version__)") == "9.8.7\n"


def test_version_of_files_that_are_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> str:
        assert name == PROJECT["name"]
        raise PackageNotFoundError(name)

    monkeypatch.setattr("sira.version.version_of", missing)
    assert sira.__version__ == "unknown"
    for command, name in ((main, "sira-compile"), (verify_main, "sira-verify")):
        with pytest.raises(SystemExit) as stop:
            command(["--version"])
        assert stop.value.code == 0
        assert capsys.readouterr().out == f"{name} unknown\n"


def test_names_outside() -> None:
    """``sira`` is somebody else's distribution; the commands are named by what they do."""
    assert PROJECT["name"] == "sira-compile"
    assert set(PROJECT["scripts"]) == {"sira-compile", "sira-verify"}


def test_python_m_sira_is_sira_compile(tmp_path: Path) -> None:
    model = ROOT / "tests" / "models" / "digits_mlp_w2a2.onnx"
    arguments = [str(model), "--analyze-only", "--verify", "0", "-o", str(tmp_path / "build")]
    printed = output(os.environ | {"PYTHONPATH": str(ROOT)}, "-m", "sira", *arguments)
    assert printed.endswith(f"report: {tmp_path / 'build' / 'report.json'}\n")
    assert "usage: sira-compile " in output(
        os.environ | {"PYTHONPATH": str(ROOT)}, "-m", "sira", "--help"
    )

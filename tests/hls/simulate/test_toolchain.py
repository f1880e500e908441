"""The cache folder: where it is, and what is said when it cannot be written."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hls.simulate.toolchain import cache_folder, missing
from sira.errors import SiraError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SIRA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "home/.cache/sira"),
        ({"XDG_CACHE_HOME": ""}, "home/.cache/sira"),
        ({"XDG_CACHE_HOME": "caches"}, "caches/sira"),
        ({"XDG_CACHE_HOME": "~/caches"}, "home/caches/sira"),
        ({"SIRA_CACHE": "", "XDG_CACHE_HOME": "caches"}, "caches/sira"),
        ({"SIRA_CACHE": "models", "XDG_CACHE_HOME": "caches"}, "models"),
    ],
)
def test_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == tmp_path / folder
    assert cache_folder().is_dir() and not list(cache_folder().iterdir())


@pytest.mark.parametrize("name", ["SIRA_CACHE", "XDG_CACHE_HOME"])
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, str(tmp_path / "file"))
    with pytest.raises(SiraError, match=r"cannot be written, found .*; set SIRA_CACHE to a folder"):
        cache_folder()


def test_what_many_need_at_once_is_made_once(tmp_path):
    target = tmp_path / "cache" / "made"
    makers, start = [], threading.Barrier(8)

    def need(number):
        start.wait()
        with missing(target) as needed:
            if needed:
                makers.append(number)
                time.sleep(0.05)
                target.write_text("made")
        assert target.read_text() == "made"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(need, range(8)))
    assert len(makers) == 1


def test_another_one_makes_what_the_first_could_not(tmp_path):
    target = tmp_path / "made"
    with pytest.raises(RuntimeError, match="broken"), missing(target) as needed:
        assert needed
        raise RuntimeError("broken")
    with missing(target) as needed:
        assert needed

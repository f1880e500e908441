"""The cache: where it is, what is said when it cannot be written, and how entries appear."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hls.cache import cache_folder, cached, digest
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


@pytest.mark.parametrize("folder", [False, True])
def test_an_entry_is_made_once_and_appears_in_one_piece(folder: bool) -> None:
    made = []

    def make(path: Path) -> None:
        assert not (cache_folder() / "kind" / "entry").exists()
        made.append(path)
        if folder:
            path.mkdir()
        (path / "part" if folder else path).write_text("contents")

    for _ in range(2):
        entry = cached("kind/entry", make)
        assert entry == cache_folder() / "kind" / "entry"
        assert (entry / "part" if folder else entry).read_text() == "contents"
    assert len(made) == 1
    assert [path.name for path in entry.parent.iterdir()] == ["entry"]


def entries() -> list[str]:
    return sorted(path.name for path in cache_folder().iterdir() if path.name != "locks")


def test_what_many_need_at_once_is_made_once() -> None:
    makers, start = [], threading.Barrier(8)

    def make(path: Path) -> None:
        makers.append(path)
        path.mkdir()
        for number in range(20):
            (path / str(number)).write_text("x" * 1000)
        time.sleep(0.05)

    def need(_: int) -> int:
        start.wait()
        return sum(len(part.read_text()) for part in cached("entry", make).iterdir())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(need, range(8))) == {20_000}
    assert len(makers) == 1 and entries() == ["entry"]


def test_what_fails_leaves_nothing_and_another_one_makes_it() -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        cached("entry", fail)
    assert entries() == []
    with pytest.raises(FileNotFoundError):
        cached("entry", lambda path: None)
    assert cached("entry", lambda path: path.write_text("made")).read_text() == "made"


def test_a_digest_tells_where_contents_end() -> None:
    keys = [digest(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["ab", "c", ""], [])]
    assert len(set(keys)) == 5
    assert digest(["ab", b"c"]) == keys[0] and len(keys[0]) == 32

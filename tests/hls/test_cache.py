"""The cache: where it is, what is said when it cannot be written, and how entries appear."""

from __future__ import annotations

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


@pytest.mark.parametrize("folder", [False, True])
def test_two_make_the_same_entry(folder: bool) -> None:
    """The second one begins, and is done, while the first is at it."""

    def write(path: Path, text: str) -> None:
        if folder:
            path.mkdir()
        (path / "part" if folder else path).write_text(text)

    def slow(path: Path) -> None:
        write(path, "the same")
        cached("entry", lambda other: write(other, "the same"))

    entry = cached("entry", slow)
    assert (entry / "part" if folder else entry).read_text() == "the same"
    assert list(cache_folder().iterdir()) == [entry]


def test_many_threads_make_the_same_entry() -> None:
    def make(path: Path) -> None:
        path.mkdir()
        for number in range(20):
            (path / str(number)).write_text("x" * 1000)

    def use(_: int) -> int:
        entry = cached("entry", make)
        return sum(len(part.read_text()) for part in entry.iterdir())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(use, range(32))) == {20_000}
    assert [path.name for path in cache_folder().iterdir()] == ["entry"]


def test_what_fails_leaves_nothing() -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        cached("entry", fail)
    assert not list(cache_folder().iterdir())
    with pytest.raises(FileNotFoundError):
        cached("entry", lambda path: None)


def test_a_digest_tells_where_contents_end() -> None:
    keys = [digest(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["ab", "c", ""], [])]
    assert len(set(keys)) == 5
    assert digest(["ab", b"c"]) == keys[0] and len(keys[0]) == 32

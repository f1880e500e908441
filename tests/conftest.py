"""How all tests run: on all cores, with one folder of compiled models, on known or fresh examples.

Examples that hypothesis or a seed draws are the same in every run, so that a failure is a change of
the code's. ``pytest -m slow`` draws other ones each time, more of them, in all tests that draw; the
last lines say how to draw the same ones again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

SEED = "SIRA_TEST_SEED"

settings.register_profile("known", derandomize=True, deadline=None, max_examples=60)
settings.register_profile("fresh", deadline=None, max_examples=600, print_blob=True)
settings.load_profile("known")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """A process for each core, unless ``-n`` says otherwise.

    Each takes a run of neighbours, which share fixtures, and helps the others at its end.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:  # It is one of them, and must not start its own.
        return
    option = config.option
    if "PYTEST_XDIST_WORKER" in os.environ:  # one of these processes, which has options of its own
        return
    if getattr(option, "numprocesses", 0) is None and not option.collectonly:
        option.numprocesses = "logical"
        if option.dist == "no":
            option.dist = "worksteal"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if _fresh(config):
        settings.load_profile("fresh")
        # Worker processes inherit it: all of them must collect the same tests.
        os.environ.setdefault(SEED, str(secrets.randbelow(10**6)))
        if config.option.hypothesis_seed is None:
            config.option.hypothesis_seed = os.environ[SEED]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if _fresh(config) and is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("slow")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _fresh(terminalreporter.config):
        again = f"{SEED}={os.environ[SEED]} pytest -m slow"
        terminalreporter.write_line(f"fresh examples; `{again}` draws the same ones again")


def _fresh(config: pytest.Config) -> bool:
    return "slow" in config.option.markexpr.replace("not slow", "")


@pytest.fixture(scope="session", autouse=True)
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Compiled models go to a folder of this test run, so that every run compiles them, but once.

    The processes of a run share it.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "models"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIRA_CACHE", str(folder))
        yield folder

"""What the README lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from sira.ops import RULES

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_operators_of_the_analysis() -> None:
    found = re.search(r"\| operators in the analysis \| (\d+): ([^|]*) \|", README)
    assert found is not None
    assert found[2].split(", ") == sorted(RULES) and int(found[1]) == len(RULES)


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert links and not [link for link in links if not (Path(__file__).parents[1] / link).exists()]


def test_modules_that_are_named_are_there() -> None:
    named = re.findall(r"`((?:sira|transforms|hls)/[\w/]+\.py)`", README)
    assert named and not [n for n in named if not (Path(__file__).parents[1] / n).is_file()]

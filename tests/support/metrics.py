"""What docs/metrics.md says there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (`facedetection_[^|]*) \| ([a-z, ]+) \|", re.MULTILINE)
METRIC = re.compile(r"\bfacedetection_\w+")


def documented(program: str = "") -> set[str]:
    """The names of the metrics on the page: of one program (`detector`, `forwarder`, `saver`), or all."""
    rows = _ROW.findall((ROOT / "docs/metrics.md").read_text())
    return {name for names, programs in rows if program in programs for name in METRIC.findall(names)}


def used(text: str) -> set[str]:
    """The names of the metrics in expressions; a histogram's by the name that the page has."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(text)}

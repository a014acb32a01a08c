"""docs/architecture.md names files that exist, and in each the names that it gives."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("edge_face_detection", "edge_forwarder", "face_messages", "object_store", "cloud_saver")
# A row's file, and the cell of names in it.
ROW = re.compile(r"^\|[^|]*\| \[([^\]]+)\]\(\.\./\1\) \|([^|]*)\|", re.MULTILINE)


def names_in(file: Path) -> set[str]:
    """Classes, functions and methods, these as Class.method."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return names


@cache
def everywhere() -> set[str]:
    return {name for package in PACKAGES for each in (ROOT / package).rglob("*.py") for name in names_in(each)}


def rows() -> list[tuple[str, list[str]]]:
    return [(file, re.findall(r"`([A-Za-z_.]+)`", cell)) for file, cell in ROW.findall(TEXT)]


def test_every_step_names_a_file_and_what_to_look_at_there() -> None:
    steps = re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert len(rows()) == len(steps) + 4  # those of the first table
    assert [file for file, names in rows() if file.endswith(".py") and not names] == []


@pytest.mark.parametrize(("file", "names"), rows(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_row_names_is_in_its_file(file: str, names: list[str]) -> None:
    """A name of another file's, such as where a call ends, is in some package's."""
    if not file.endswith(".py"):
        assert (ROOT / file).is_file()
        return
    first, *others = names
    assert first in names_in(ROOT / file)
    assert [name for name in others if name not in everywhere()] == []


def test_what_the_prose_names_exists() -> None:
    named = re.findall(r"`([A-Z]\w+\.[a-z]\w+)`", TEXT)
    assert len(named) > 10
    assert [name for name in named if name not in everywhere()] == []


def test_the_files_in_the_drawing_exist_and_have_the_numbers_of_their_steps() -> None:
    (drawing,) = re.findall(r"^```\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert max(map(len, drawing.splitlines())) <= 120
    drawn = re.findall(r"\b(\d+) ([a-z_/]+\.py)", drawing)
    steps = dict(re.findall(r"^\| (\d+) \| \[([^\]]+)\]", TEXT, re.MULTILINE))
    assert {number for number, _ in drawn} == {number for number, file in steps.items() if file.endswith(".py")}
    assert [(number, file) for number, file in drawn if not steps[number].endswith(f"/{file}")] == []
    for number, broker in re.findall(r"\b(\d+) (\w+): Mosquitto", drawing):
        assert steps[number].startswith(f"{broker}/")

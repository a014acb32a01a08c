"""A short round of kills, pauses and cuts; `make chaos` plays longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.__main__ import run
from chaos.faults import Kind, draw
from chaos.pictures import number_of, numbered_picture
from chaos.stage import Stage

SECONDS = 12.0


@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_stored_twice_whatever_is_killed(tmp_path: Path) -> None:
    """Each part is killed at least once, links are cut in both ways, and the bucket holds every picture once."""
    stage = Stage(tmp_path, rate=40, size=5000)
    faults = draw(7, seconds=SECONDS, kills=6, processes=list(stage.processes), links=list(stage.links))
    assert {fault.part for fault in faults if fault.kind is Kind.KILL} == set(stage.processes)
    try:
        result, dry = run(stage, faults, seconds=SECONDS, dry_seconds=90)
    finally:
        stage.stop()
    assert result.is_good, result
    assert result.produced > 100
    assert dry is not None


def test_the_same_seed_draws_the_same_faults() -> None:
    """So that a run which failed can be had again."""
    parts = {"processes": ["a", "b"], "links": ["c"]}
    assert draw(1, seconds=10, kills=8, **parts) == draw(1, seconds=10, kills=8, **parts)
    assert draw(1, seconds=10, kills=8, **parts) != draw(2, seconds=10, kills=8, **parts)


def test_a_numbered_picture_tells_its_number_only_when_it_is_whole() -> None:
    """A picture cut short counts as damaged."""
    picture = numbered_picture(1_000_017, 5000)
    assert number_of(picture) == 1_000_017
    assert number_of(picture[:-1]) is None
    assert number_of(b"") is None

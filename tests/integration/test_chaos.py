"""A short round of kills, pauses and cuts; `make chaos` plays longer ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from dev.chaos.__main__ import run
from dev.chaos.cluster import Switch
from dev.chaos.faults import Kind, draw
from dev.chaos.stage import Stage
from dev.stack.pictures import PictureReader, number_of, numbered_picture
from tests.support.raw import correlation_data, packet, publish, string

SECONDS = 12.0
PARTS = {"processes": list("abcdef"), "links": list("vwxyz")}


@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_stored_twice_whatever_is_killed(tmp_path: Path) -> None:
    """Each part is killed at least once, links are cut in both ways, and the bucket holds every picture once."""
    stage = Stage(tmp_path, rate=40, size=5000)
    faults = draw(7, seconds=SECONDS, kills=6, processes=list(stage.processes), links=list(stage.links))
    assert {fault.part for fault in faults if fault.kind is Kind.KILL} == set(stage.processes)
    result = run(stage, faults, seconds=SECONDS, dry_seconds=90)
    assert result.is_good, result
    assert result.produced > 100


def test_the_same_seed_draws_the_same_faults() -> None:
    """So that a run which failed can be had again."""
    assert draw(1, seconds=10, kills=8, **PARTS) == draw(1, seconds=10, kills=8, **PARTS)
    assert draw(1, seconds=10, kills=8, **PARTS) != draw(2, seconds=10, kills=8, **PARTS)


@pytest.mark.parametrize("kind", [Kind.REFUSE, Kind.SWALLOW])
def test_a_nodes_trouble_lasts_until_it_is_mended(kind: Kind, tmp_path: Path) -> None:
    """In whichever way a link would be cut: a node knows but one."""
    seen: list[str] = []

    @contextlib.contextmanager
    def trouble() -> Iterator[None]:
        seen.append("begins")
        yield
        seen.append("ends")

    stage = Stage(tmp_path, rate=1, size=1000)
    stage.links["a node's network"] = Switch(trouble)
    try:
        stage.inflict(kind, "a node's network")
        assert seen == ["begins"]
        stage.mend("a node's network")
        assert seen == ["begins", "ends"]
    finally:
        stage.stop()


@pytest.mark.parametrize("seed", range(5))
def test_every_part_gets_its_share_of_each_fault(seed: int) -> None:
    """All processes are killed and paused, all links cut in both ways; only members of a group leave it."""
    faults = draw(seed, seconds=100, kills=30, **PARTS, members=["e", "f"])
    expected = {
        Kind.KILL: "abcdef",
        Kind.PAUSE: "abcdef",
        Kind.REFUSE: "vwxyz",
        Kind.SWALLOW: "vwxyz",
        Kind.LEAVE: "ef",
    }
    for kind, parts in expected.items():
        assert {fault.part for fault in faults if fault.kind is kind} == set(parts), kind
    assert not [fault for fault in draw(seed, seconds=100, kills=30, **PARTS) if fault.kind is Kind.LEAVE]


def test_a_numbered_picture_tells_its_number_only_when_it_is_whole() -> None:
    """A picture cut short counts as damaged."""
    picture = numbered_picture(1_000_017, 5000)
    assert number_of(picture) == 1_000_017
    assert number_of(picture[:-1]) is None
    assert number_of(b"") is None


@pytest.mark.parametrize("size", [100, 101, 20_000, 200_000])
def test_a_numbered_picture_has_the_size_that_was_asked_for_and_is_a_picture(size: int) -> None:
    picture = numbered_picture(7, size)
    assert len(picture) == size
    assert number_of(picture) == 7
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED) is not None


@pytest.mark.parametrize("properties", [correlation_data(b"some id"), None], ids=["MQTT 5", "MQTT 3.1.1"])
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_pictures_are_counted_on_the_wire_however_it_is_cut_into_pieces(properties: bytes | None, piece: int) -> None:
    """Each complete one, in order, repetitions too; other packets, and one that a cut leaves unfinished, are not."""
    pictures = [publish(b"t", numbered_picture(number, 300), properties=properties) for number in (5, 6, 5)]
    other = publish(b"t", b"a text", properties=properties)
    stream = packet(0x10, string(b"MQTT")) + other + b"".join(pictures) + pictures[0][:-1]
    read = PictureReader().read
    assert [name for at in range(0, len(stream), piece) for name in read(stream[at : at + piece])] == [5, 6, 5]


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_puts_are_counted_on_the_wire_however_it_is_cut_into_pieces(piece: int) -> None:
    """By their pictures, each time; other requests, and one that a cut leaves unfinished, are not."""
    one, two, last = (b"PUT /x HTTP/1.1\r\nHost: s3\r\n\r\n" + numbered_picture(number, 300) for number in (1, 2, 3))
    get = b"GET /c HTTP/1.1\r\nHost: s3\r\n\r\n"
    stream = one + get + two + one + last[:-1]
    read = PictureReader().read
    assert [name for at in range(0, len(stream), piece) for name in read(stream[at : at + piece])] == [1, 2, 1]

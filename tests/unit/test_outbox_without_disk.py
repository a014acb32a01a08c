"""An outbox whose disk is away: it goes on in memory, and knows what is what when the file is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from face_messages import Message, Outbox
from face_messages.custody.send_order import SendOrder
from face_messages.outbox.database import Kept
from tests.support.parts import MIB, on_disk, put_and_wait
from tests.support.waiting import eventually, never


class Place:
    """A folder with an outbox's file in it, which can be away."""

    def __init__(self, folder: Path) -> None:
        self._there, self._away = folder / "place", folder / "away"
        self._there.mkdir()
        self.path = self._there / "outbox.db"

    def open(self) -> Outbox:
        return Outbox(self.path, max_bytes=64 * MIB)

    def vanishes(self) -> None:
        self._there.rename(self._away)
        self._there.touch()

    def is_back(self) -> None:
        self._there.unlink()
        self._away.rename(self._there)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Holds the messages 0 to 9."""
    place = Place(tmp_path)
    outbox = place.open()
    put_and_wait(outbox, [(b"%d" % i, Message("t", b"old %d" % i)) for i in range(10)])
    outbox.close()
    return place


@pytest.fixture
def outbox(place: Place) -> Iterator[Outbox]:
    """Began while the place was away."""
    place.vanishes()
    outbox = place.open()
    try:
        yield outbox
    finally:
        outbox.close()


def payloads(outbox: Outbox) -> list[bytes]:
    """In their order."""
    found: list[Kept] = []
    while some := outbox.take(found[-1].seq if found else 0, limit=1000, max_bytes=MIB):
        found += some
    return [kept.message.payload for kept in found]


def test_what_is_put_is_given_and_nobody_is_told_that_it_is_safe(place: Place, outbox: Outbox) -> None:
    """Until the place is there: then all of it is on disk, behind what was there."""
    done: list[int] = []
    for i in range(10, 20):
        outbox.put(b"%d" % i, Message("t", b"new %d" % i), lambda i=i: done.append(i))  # type: ignore[misc]
    assert payloads(outbox) == [b"new %d" % i for i in range(10, 20)]
    assert len(outbox) == 10
    assert not outbox.disk_works
    never(lambda: done, during=0.3)
    place.is_back()
    eventually(lambda: done == list(range(10, 20)))
    eventually(lambda: outbox.trouble is None)
    assert outbox.disk_works
    assert on_disk(place.path) == [b"%d" % i for i in range(20)]
    assert payloads(outbox) == [b"old %d" % i for i in range(10)] + [b"new %d" % i for i in range(10, 20)]
    assert len(outbox) == 20


def test_what_is_confirmed_meanwhile_is_safe_and_never_written(place: Place, outbox: Outbox) -> None:
    done: list[bytes] = []
    for name in (b"a", b"b"):
        outbox.put(name, Message("t", name), lambda name=name: done.append(name))  # type: ignore[misc]
    outbox.discard([b"a"])
    assert done == [b"a"]
    place.is_back()
    eventually(lambda: done == [b"a", b"b"])
    assert on_disk(place.path)[10:] == [b"b"]


def test_what_is_on_disk_already_is_not_doubled(place: Place, outbox: Outbox) -> None:
    """Its sender, who had no receipt, has sent it again meanwhile. Another message of the same id replaces nothing."""
    done: list[str] = []
    outbox.put(b"3", Message("t", b"old 3"), lambda: done.append("same"))
    outbox.put(b"4", Message("t", b"quite another"), lambda: done.append("other"))
    outbox.put(b"new", Message("t", b"new"), lambda: done.append("new"))
    place.is_back()
    eventually(lambda: set(done) == {"same", "new"})
    assert on_disk(place.path) == [*(b"%d" % i for i in range(10)), b"new"]
    assert payloads(outbox)[4] == b"old 4"
    # Now that the file can be asked, it gets an id of its own, as ever.
    outbox.put(b"4", Message("t", b"quite another"), lambda: done.append("other"))
    eventually(lambda: "other" in done)
    assert payloads(outbox)[-1] == b"quite another"


def test_the_sender_begins_anew_when_the_place_is_there(place: Place, outbox: Outbox) -> None:
    order = SendOrder(outbox, backlog=1000)
    outbox.put(b"new", Message("t", b"new"), lambda: None)
    kept = order.next()
    assert kept is not None
    assert kept.message.payload == b"new"
    assert order.next() is None
    place.is_back()
    eventually(lambda: outbox.disk_works and outbox.openings == 1)
    given = [kept.message.payload for kept in iter(order.next, None)]
    assert given == [*(b"old %d" % i for i in range(10)), b"new"]


def test_a_file_that_fails_is_opened_anew(tmp_path: Path) -> None:
    """Also while nothing is to be written."""
    place = Place(tmp_path)
    outbox = place.open()
    try:
        put_and_wait(outbox, [(b"%d" % i, Message("t", b"x")) for i in range(3)])
        assert outbox._disk._files is not None
        outbox._disk._files.reading.close()  # each question fails from here on
        outbox.oldest_age()
        assert not outbox.disk_works
        eventually(lambda: outbox.disk_works and outbox.openings == 2)
        put_and_wait(outbox, [(b"later", Message("t", b"x"))])
        assert on_disk(place.path) == [b"0", b"1", b"2", b"later"]
        assert outbox.trouble is None
    finally:
        outbox.close()


def test_a_file_that_is_damaged_under_a_running_outbox_is_kept_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is in memory goes into the new one, those it had told to be safe too."""
    place = Place(tmp_path)
    outbox = place.open()
    try:
        # What was written long ago is no longer in memory.
        put_and_wait(outbox, [(b"%d" % i, Message("t", bytes(100_000))) for i in range(120)])
        assert outbox._disk._files is not None
        outbox._disk._files.writing._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with place.path.open("r+b") as file:
            file.seek(8192)
            file.write(b"rubbish!" * 200_000)
        put_and_wait(outbox, [(b"later", Message("t", b"x"))])
        eventually(lambda: outbox.take(0, limit=1, max_bytes=1))
        for i in range(120):
            outbox.get(b"%d" % i, i + 1)
        eventually(lambda: "is damaged" in caplog.text)
        eventually(lambda: outbox.disk_works and b"later" in on_disk(place.path))
        assert len(list(place.path.parent.glob("outbox.db.damaged-*"))) >= 1
        put_and_wait(outbox, [(b"last", Message("t", b"x"))])
    finally:
        outbox.close()

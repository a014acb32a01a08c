"""The line a minute about a backlog."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from face_messages import Message, Outbox
from face_messages.outbox.progress import Backlog, Look, report_backlog
from tests.support.parts import put_and_wait
from tests.support.waiting import eventually


def test_a_backlog_is_reported_until_it_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How much waits, how fast it goes and how long that takes; and nothing more once it is gone."""
    caplog.set_level(logging.INFO, "face_messages.outbox.progress")
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=64 * 1024 * 1024)
    ids = [b"%d" % i for i in range(1000)]
    stop = threading.Event()
    put_and_wait(outbox, [(i, Message("topic", b"x" * 1000)) for i in ids])
    reporter = threading.Thread(target=report_backlog, args=(outbox, stop), kwargs={"every": 0.1})
    reporter.start()
    try:
        eventually(lambda: "1000 messages wait (1." in caplog.text and "none was confirmed" in caplog.text)
        outbox.discard(ids[:400])
        eventually(lambda: "600 messages wait" in caplog.text and "left" in caplog.text)
        outbox.discard(ids[400:])
        eventually(lambda: "the backlog is gone" in caplog.text)
    finally:
        stop.set()
        reporter.join()
        outbox.close()


class Minutes:
    """An outbox that is looked at once a minute, with `bytes` for each message."""

    def __init__(self, waiting: int = 0) -> None:
        self.now = Look(1000.0, waiting, waiting * 25_000, 0)
        self.backlog = Backlog(self.now)

    def pass_one(self, *, come: int = 0, confirmed: int = 0, overwritten: int = 0) -> str | None:
        """The line at the end of a minute in which so many messages came and went."""
        before = self.now
        waiting = before.waiting + come - confirmed - overwritten
        gone = before.confirmed + confirmed, before.overwritten + overwritten
        self.now = Look(before.at + 60, waiting, waiting * 25_000, *gone)
        return self.backlog.line(self.now)


def test_what_comes_in_meanwhile_delays_the_end() -> None:
    """What is left goes at the rate of what is confirmed less that of what comes."""
    line = Minutes(120_000).pass_one(come=600, confirmed=12_600)
    assert line == "108000 messages wait (2700.0 MB); 210.0/s are confirmed, 10.0/s come in, about 9 min left"


def test_a_backlog_that_grows_is_called_so_and_promised_no_end() -> None:
    """The link may be up, and yet too slow."""
    line = Minutes(1000).pass_one(come=1200, confirmed=600)
    assert line == "1600 messages wait (40.0 MB); 10.0/s are confirmed, 20.0/s come in, growing"


def test_an_outage_tells_since_when_nothing_is_confirmed() -> None:
    """From when something waited."""
    outbox = Minutes()
    for _ in range(600):
        outbox.pass_one()
    assert outbox.pass_one(come=300) is None
    lines = [outbox.pass_one(come=300) for _ in range(200)]
    assert lines[0] == "600 messages wait (15.0 MB); none was confirmed in 2 min, 5.0/s come in, growing"
    assert lines[-1] == "60300 messages wait (1507.5 MB); none was confirmed in 3 h, 5.0/s come in, growing"


def test_after_an_outage_the_estimate_is_of_what_goes_now() -> None:
    """Hours of standing still are not in it."""
    outbox = Minutes(60_000)
    for _ in range(300):
        outbox.pass_one()
    assert str(outbox.pass_one(confirmed=6000)).endswith("100.0/s are confirmed, 0.0/s come in, about 9 min left")


def test_a_link_that_comes_and_goes_has_both_in_the_estimate() -> None:
    """It does not jump between the best and none."""
    outbox = Minutes(60_000)
    lines = [outbox.pass_one(confirmed=0 if i % 2 else 3000) for i in range(12)]
    assert str(lines[-2]).endswith("30.0/s are confirmed, 0.0/s come in, about 23 min left")
    assert str(lines[-1]).endswith("20.0/s are confirmed, 0.0/s come in, about 35 min left")


def test_what_is_overwritten_is_told_and_is_no_progress() -> None:
    """A full outbox that drops its oldest stays as it is."""
    line = Minutes(1000).pass_one(come=600, overwritten=600)
    assert line == "1000 messages wait (25.0 MB); none was confirmed in 60 s, 10.0/s come in, 600 were overwritten"


def test_everyday_life_is_no_backlog() -> None:
    """Faces on their way at the moment of looking, at whatever rate; nor one that never leaves among many that do."""
    outbox = Minutes(20)
    assert [outbox.pass_one(come=6000, confirmed=6000) for _ in range(10)] == [None] * 10
    outbox = Minutes(1)
    assert [outbox.pass_one(come=1, confirmed=1) for _ in range(10)] == [None] * 10


def test_a_few_that_wait_are_a_backlog() -> None:
    """Three faces that wait for minutes are told as well, and their end."""
    outbox = Minutes(3)
    assert outbox.pass_one() == "3 messages wait (0.1 MB); none was confirmed in 60 s, 0.0/s come in"
    assert outbox.pass_one(confirmed=3) == "the backlog is gone: 0 messages wait"
    assert outbox.pass_one() is None

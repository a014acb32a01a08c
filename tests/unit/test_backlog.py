"""The line a minute about a backlog."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from face_messages import Message, Outbox
from face_messages.backlog import report_backlog
from tests.support.parts import put_and_wait
from tests.support.waiting import eventually


def test_a_backlog_is_reported_until_it_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How much waits, how fast it goes and how long that takes; and nothing more once it is gone."""
    caplog.set_level(logging.INFO, "face_messages.backlog")
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

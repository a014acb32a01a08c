"""`python -m dev.bench.producer …`: the detector's own outbox and sender, with pictures in the camera's place.

It makes faces at an even pace until SIGTERM. SIGUSR1 orders a number of further ones, once, faster than that.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from dev.bench.traffic import event
from dev.stack.mosquitto import Mosquitto
from dev.stack.processes import ManagedProcess
from face_messages import BrokerUrl, Outbox, Sender, Session
from face_messages.message import TOPIC

LIVE_RATE = 10

# Faces made and not confirmed: the next keeper sets the pace, so that nothing gathers here while it takes some.
_AHEAD = 256
# A folder each in the bucket: with tens of thousands of files in one, rclone takes five times as long for a PUT.
_CAMERAS = 64
_CLIENT_ID = "producer"
_OUTBOX_BYTES = 256 * 1024 * 1024
_START, _END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


class Producer(ManagedProcess):
    """A producer in a process of its own, at a broker.

    Args:
        broker: takes the faces.
        folder: holds its outbox and its journal.
        size: bytes of a picture.
        burst: faces that `begin_burst` orders.
        rate: of these, a second; 0 for as many as are taken.

    """

    def __init__(self, broker: Mosquitto, folder: Path, *, size: int, burst: int, rate: float) -> None:
        self._journal = folder / "journal"
        arguments = [broker.url, str(folder / "producer.db"), str(self._journal), str(size), str(burst), str(rate)]
        super().__init__(
            "producer",
            [sys.executable, "-m", "dev.bench.producer", *arguments],
            log=folder / "producer.log",
            ready=lambda: bool(self.ids()),
        )

    def begin_burst(self) -> None:
        os.kill(self.pid, signal.SIGUSR1)

    def ids(self) -> list[str]:
        """The faces that its outbox has confirmed to hold."""
        return self._journal.read_text().split() if self._journal.exists() else []


def produce(url: BrokerUrl, outbox_path: Path, journal: Path, *, size: int, burst: int, rate: float) -> None:
    stop, ordered = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: ordered.set())
    notes = os.open(journal, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    outbox = Outbox(outbox_path, max_bytes=_OUTBOX_BYTES)
    sender = Sender(outbox, client_id=_CLIENT_ID)
    session = Session(url, client_id=_CLIENT_ID, endpoint=sender)
    session.start()
    made, due = 0, time.monotonic()
    while not stop.is_set():
        face = replace(event(), camera_id=f"camera{made % _CAMERAS}")
        picture = _START + made.to_bytes(8) + os.urandom(size - len(_START) - 8 - len(_END)) + _END

        def note(line: bytes = f"{face.id}\n".encode()) -> None:
            os.write(notes, line)

        outbox.put(face.id.encode(), face.to_message(TOPIC, picture), note)
        made += 1
        while made - outbox.confirmed >= _AHEAD and not stop.is_set():
            time.sleep(0.001)
        pace: float = LIVE_RATE
        if ordered.is_set() and burst:
            burst -= 1
            pace = rate
        due = max(due + (1 / pace if pace else 0), time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))
    while len(outbox):
        time.sleep(0.01)
    session.stop()
    outbox.close()


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser()
    parser.add_argument("url", type=BrokerUrl.parse)
    parser.add_argument("outbox", type=Path)
    parser.add_argument("journal", type=Path)
    parser.add_argument("size", type=int)
    parser.add_argument("burst", type=int)
    parser.add_argument("rate", type=float)
    given = parser.parse_args()
    produce(given.url, given.outbox, given.journal, size=given.size, burst=given.burst, rate=given.rate)


if __name__ == "__main__":
    main()

"""The detector's own outbox and sender, with numbered pictures in the camera's place: `python -m dev.chaos.producer`.

Each picture that the outbox has confirmed to hold is noted in a journal: these are the faces that must not be lost.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dev.chaos.pictures import numbered_picture
from face_messages import BrokerUrl, FaceEvent, Outbox, Sender, Session, new_id
from face_messages.service import logs

# A start of the producer counts from a number of its own, so that a number is never used twice.
_NUMBERS_A_START = 1_000_000
# Pictures that may wait for the outbox's disk, as in the detector.
_WAITING = 64


class Journal:
    """The numbers of the pictures that were promised to arrive, in the file JOURNAL."""

    def __init__(self) -> None:
        path = Path(os.environ["JOURNAL"])
        starts = path.read_text().count("start") if path.exists() else 0
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(self._file, b"start\n")
        self.first_number = starts * _NUMBERS_A_START

    def note(self, number: int) -> None:
        os.write(self._file, f"{number}\n".encode())  # one write of a short line: a kill leaves it whole or not there


def camera(first_number: int) -> Iterator[tuple[int, bytes]]:
    """RATE pictures a second of SIZE bytes, with their numbers, until STOP_FILE is there.

    Whoever was busy for long finds the pictures of the last second, as the others were for nobody to see.
    """
    rate, size, stop_file = float(os.environ["RATE"]), int(os.environ["SIZE"]), Path(os.environ["STOP_FILE"])
    due = time.monotonic()
    for number in itertools.count(first_number):
        if stop_file.exists():
            return
        yield number, numbered_picture(number, size)
        due = max(due + 1 / rate, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))


def produce() -> None:
    journal = Journal()
    outbox = Outbox(Path(os.environ["OUTBOX_PATH"]), max_bytes=int(os.environ["OUTBOX_MAX_BYTES"]))
    sender = Sender(outbox, client_id="chaos:camera0")
    session = Session(BrokerUrl.parse(os.environ["MQTT_URL"]), client_id="chaos:camera0", endpoint=sender)
    session.start()
    room = threading.Semaphore(_WAITING)
    for number, picture in camera(journal.first_number):
        room.acquire()

        def kept(number: int = number) -> None:
            journal.note(number)
            room.release()

        event = FaceEvent(new_id(), "chaos", "camera0", datetime.now(UTC), number % _NUMBERS_A_START)
        outbox.put(event.id.encode(), event.to_message("facedetection_topic", picture), kept)
    for _ in range(_WAITING):
        room.acquire()
    while len(outbox):
        time.sleep(0.02)
    session.stop()
    outbox.close()


if __name__ == "__main__":
    logs.configure("info", "text")
    produce()

"""The detector's own outbox and sender, with numbered pictures in the camera's place: `python -m chaos.producer`.

Each picture that the outbox has confirmed to hold is noted in a journal: these are the faces that must not be lost.
"""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from chaos.pictures import numbered_picture
from face_messages import BrokerUrl, Connection, FaceEvent, Outbox, Sender, logs, new_id

#: A start of the producer counts from a number of its own, so that a number is never used twice.
NUMBERS_A_START = 1_000_000


def produce(*, broker: str, outbox_path: Path, journal: Path, rate: float, size: int, stop_file: Path) -> None:
    starts = journal.read_text().count("start") if journal.exists() else 0
    notes = os.open(journal, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(notes, b"start\n")
    outbox = Outbox(outbox_path, max_bytes=1 << 30)
    sender = Sender(outbox, client_id="chaos:camera0")
    connection = Connection(BrokerUrl.parse(broker), client_id="chaos:camera0", endpoint=sender)

    def kept() -> None:
        sender.outbox_has_more()
        connection.wake()

    outbox.on_kept = kept
    connection.start()
    number = starts * NUMBERS_A_START
    due = time.monotonic()
    while not stop_file.exists():
        event = FaceEvent(
            new_id(), "chaos", "camera0", datetime.now(UTC), number % NUMBERS_A_START, (640, 480), (9, 9, 99, 99), 1.0
        )
        message = event.to_message("facedetection_topic", numbered_picture(number, size))

        def note(line: bytes = f"{number}\n".encode()) -> None:
            os.write(notes, line)  # one write of a short line: a kill leaves it whole or not there

        outbox.put(event.id.encode(), message, note)
        number += 1
        due = max(due + 1 / rate, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))
    while len(outbox):
        time.sleep(0.02)
    connection.stop()
    outbox.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--outbox", type=Path, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--stop-file", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--size", type=int, required=True)
    arguments = parser.parse_args()
    logs.configure("info", "text")
    produce(
        broker=arguments.broker,
        outbox_path=arguments.outbox,
        journal=arguments.journal,
        rate=arguments.rate,
        size=arguments.size,
        stop_file=arguments.stop_file,
    )


if __name__ == "__main__":
    main()

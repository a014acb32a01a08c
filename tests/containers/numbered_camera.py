"""A camera whose faces are numbered, so that it can be told afterwards whether one of them is missing.

    python3 -m numbered_camera

Runs in a container beside the detector's, on the edge broker, and keeps its faces in an outbox as the detector does.
On SIGTERM it makes no more of them, waits until all are confirmed, tells their number, and ends.
"""

from __future__ import annotations

import signal
import struct
import threading
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from face_messages import BrokerUrl, FaceEvent, Outbox, Sender, Session
from face_messages.message import TOPIC

EDGE_ID, CAMERA_ID = "numbered", "camera0"
PER_SECOND = 25
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def numbered_face(number: int) -> tuple[FaceEvent, bytes]:
    """The event and the picture with this number: always the same."""
    time = _BEGIN + timedelta(seconds=number / PER_SECOND)
    event = FaceEvent(id=f"{number:06}", edge_id=EDGE_ID, camera_id=CAMERA_ID, time=time, frame=number)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 0, 0, 0, 0)  # one grey pixel of 16 bits, whose value is the number
    pixel = zlib.compress(struct.pack(">BH", 0, number))
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixel) + _chunk(b"IEND", b"")
    return event, png


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    outbox = Outbox(Path("/tmp/outbox.db"), max_bytes=64 * 2**20)
    sender = Sender(outbox, client_id=EDGE_ID)
    session = Session(BrokerUrl.parse("mqtt://edge_mqtt_broker:1883"), client_id=EDGE_ID, endpoint=sender)
    session.start()
    count = 0
    while not stop.wait(1 / PER_SECOND):
        event, png = numbered_face(count)
        outbox.put(event.id.encode(), event.to_message(TOPIC, png), lambda: None)
        count += 1
    while outbox.confirmed < count:
        threading.Event().wait(0.05)
    print(count, flush=True)
    session.stop()
    outbox.close()


if __name__ == "__main__":
    main()

"""What tests of outages need: faces in numbers, and programs that do not wait long for a broker that is back."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from face_messages import FaceEvent, new_id
from face_messages.message import TOPIC
from tests.support import fork_server
from tests.support.parts import SendingSide

# Unconfirmed faces, so that what gathers does so behind the next keeper: less than a sender's window.
_AHEAD = 200


# With which a program's retries wait for a twentieth of the time.
HASTY = {fork_server.TEMPO: "0.05"}


def feed(detector: SendingSide, count: int, *, size: int) -> list[str]:
    """Faces of so many bytes, all of which the next keeper has confirmed; their ids, in order."""
    ids: list[str] = []
    before, deadline = detector.outbox.confirmed, time.monotonic() + 60
    while detector.outbox.confirmed < before + count:
        while len(ids) < min(count, detector.outbox.confirmed - before + _AHEAD):
            face = FaceEvent(new_id(), "tx2", "cam0", datetime.now(UTC), frame=len(ids))
            picture = (b"\x89PNG\r\n\x1a\n%d " % len(ids)).ljust(size, b".")
            detector.outbox.put(face.id.encode(), face.to_message(TOPIC, picture), lambda: None)
            ids.append(face.id)
        assert time.monotonic() < deadline, f"{detector.outbox.confirmed - before} of {count} faces were confirmed"
        time.sleep(0.002)
    return ids

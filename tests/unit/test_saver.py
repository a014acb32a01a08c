"""What the saver makes of answers that come late or not at all, in an order that no store gives on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from cloud_saver.saver import Saver
from face_messages import FaceEvent, Taken, new_id
from face_messages.message import TOPIC
from face_messages.mqtt.client import Link
from object_store.bucket import Bucket
from object_store.errors import Problem, StoreError
from object_store.keys import StoredObject
from tests.support.waiting import eventually


@dataclass
class _Store:
    """Each write waits until it may end, and then does as it is told. What was written is there."""

    fails: dict[bytes, StoreError] = field(default_factory=dict)
    may_end: dict[bytes, threading.Event] = field(default_factory=dict)
    puts: list[bytes] = field(default_factory=list)
    objects: set[str] = field(default_factory=set)
    asked: Callable[[], None] = lambda: None

    def has(self, stored: StoredObject) -> bool:
        self.asked()
        return stored.key in self.objects

    def start_put(self, stored: StoredObject) -> None:
        """Nothing is written without waiting here."""

    def put(self, stored: StoredObject) -> None:
        self.puts.append(stored.body)
        self.objects.add(stored.key)
        if stored.body in self.may_end:
            assert self.may_end[stored.body].wait(60)
        if error := self.fails.pop(stored.body, None):
            raise error

    def check_place(self, key: str) -> None:
        pass

    @property
    def bucket(self) -> Bucket:
        return cast("Bucket", self)


def _take(saver: Saver, body: bytes) -> threading.Event:
    """Hands a face of this moment over; tells when it is safe."""
    safe = threading.Event()
    message = FaceEvent(new_id(), "tx2", "door", datetime.now(UTC), frame=1).to_message(TOPIC, body)
    saver.take(Taken(message, cast("Link", None), None, lambda _taken, _refused: safe.set()))
    return safe


def test_a_write_whose_answer_was_lost_is_not_done_again() -> None:
    store = _Store(fails={b"a": StoreError(Problem.SILENT, "no answer")})
    assert _take(Saver(store.bucket, workers=1), b"a").wait(60)
    assert store.puts == [b"a"]


def test_a_failure_of_before_is_no_trouble_of_now() -> None:
    """A request may hang while others, made later, succeed."""
    store = _Store(fails={b"hangs": StoreError(Problem.SILENT, "no answer")}, may_end={b"hangs": threading.Event()})
    saver = Saver(store.bucket, workers=2)
    seen: list[StoreError | None] = []
    store.asked = lambda: seen.append(saver.trouble)  # before it is written again
    hanging = _take(saver, b"hangs")
    eventually(lambda: store.puts == [b"hangs"])
    assert _take(saver, b"quick").wait(60)
    store.may_end[b"hangs"].set()
    assert hanging.wait(60)
    assert (saver.failed, seen) == (1, [None])

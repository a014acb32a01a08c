"""The two sides of custody, wired up as the programs do it, with what a test wants to see of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from face_messages import BrokerUrl, Message, Outbox, Sender, Session, Taken, Taker, WhenFull
from face_messages.event import new_id
from face_messages.message import TOPIC

MIB = 1024 * 1024


def on_disk(path: Path) -> list[bytes]:
    """The ids that an outbox's file holds and that are to be delivered, in their order."""
    with closing(sqlite3.connect(path)) as db:
        return [bytes(row[0]) for row in db.execute("SELECT id FROM outbox WHERE aside IS NULL ORDER BY seq")]


class SendingSide:
    """An outbox, its sender and the connection that serves it."""

    def __init__(
        self,
        url: str,
        path: Path,
        *,
        client_id: str = "edge1",
        window: int = 256,
        resend_after: tuple[float, float] = (20.0, 30.0),
        max_bytes: int = 64 * MIB,
        when_full: WhenFull = WhenFull.REJECT_NEW,
        **session: Any,
    ) -> None:
        self.outbox = Outbox(path, max_bytes=max_bytes, when_full=when_full)
        self.sender = Sender(self.outbox, client_id=client_id, window=window, resend_after=resend_after)
        self.session = Session(BrokerUrl.parse_all(url), client_id=client_id, endpoint=self.sender, **session)

    def put(self, payload: bytes, *, topic: str = TOPIC, **properties: Any) -> bytes:
        """Hands a message over under a new id, which is returned."""
        message_id = new_id().encode()
        self.outbox.put(message_id, Message(topic, payload, **properties), lambda: None)
        return message_id

    def __enter__(self) -> Self:
        self.session.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.stop()
        self.outbox.close()


@dataclass(eq=False, repr=False)
class _Subscriber(Session):
    """A session that tells when it is subscribed. From then on it misses nothing that anybody publishes."""

    subscribed: threading.Event = field(default_factory=threading.Event)

    def _on_subscribe(self, *told: Any) -> None:
        super()._on_subscribe(*told)
        self.subscribed.set()


class TakingSide:
    """A taker that keeps what it is given in a list; `hold` leaves it to the test when that is safe.

    Entering it waits until it is subscribed, unless `wait` is false.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str = "keeper",
        hold: bool = False,
        group: str = "",
        wait: bool = True,
        **session: Any,
    ) -> None:
        self.hold = hold
        self._wait = wait
        self.messages: list[Message] = []
        self.held: list[Taken] = []
        self.taker = Taker(TOPIC, self._take, group=group)
        self.session = _Subscriber(BrokerUrl.parse(url), client_id=client_id, endpoint=self.taker, **session)

    def _take(self, taken: Taken) -> None:
        self.messages.append(taken.message)
        if self.hold:
            self.held.append(taken)
        else:
            taken.safe()

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in list(self.messages)]

    def release(self) -> None:
        """All that is held is safe now, and what comes is safe at once."""
        self.hold = False
        while self.held:
            self.held.pop(0).safe()

    def __enter__(self) -> Self:
        self.session.start()
        if self._wait:
            assert self.session.subscribed.wait(60), "the taker has no connection"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.stop()


def put_and_wait(outbox: Outbox, messages: Sequence[tuple[bytes, Message]]) -> None:
    """Returns when the outbox has told of each message that it is safe."""
    safe = threading.Semaphore(0)
    for message_id, message in messages:
        outbox.put(message_id, message, safe.release)
    for _ in messages:
        assert safe.acquire(timeout=20), "the outbox does not take the messages"


def numbered(count: int, size: int = 100, first: int = 0) -> list[bytes]:
    """Payloads that tell their number."""
    return [f"{i:06d}".encode().ljust(size, b".") for i in range(first, first + count)]

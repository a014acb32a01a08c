"""One session with a broker for two endpoints."""

from __future__ import annotations

from collections.abc import Sequence

import mqtt5

from face_messages.connection import Endpoint
from face_messages.link import Link
from face_messages.wire import UnreadablePublish


class Besides:
    """An endpoint, and another one for what comes on `topic` and below it."""

    def __init__(self, main: Endpoint, other: Endpoint, *, topic: str) -> None:
        self._main = main
        self._other = other
        self._topic = topic

    @property
    def subscriptions(self) -> Sequence[mqtt5.TopicFilter]:
        return [*self._main.subscriptions, *self._other.subscriptions]

    def connected(self, link: Link) -> None:
        self._main.connected(link)
        self._other.connected(link)

    def disconnected(self) -> None:
        self._main.disconnected()
        self._other.disconnected()

    def received(self, packet: mqtt5.PublishPacket | UnreadablePublish) -> None:
        is_others = f"{packet.topic}/".startswith(f"{self._topic}/")
        (self._other if is_others else self._main).received(packet)

    def acknowledged(self, packet_id: int, reason: int) -> None:
        """Each knows the packets that it has sent."""
        self._main.acknowledged(packet_id, reason)
        self._other.acknowledged(packet_id, reason)

    def work(self, now: float) -> float | None:
        waits = (self._main.work(now), self._other.work(now))
        return min((wait for wait in waits if wait is not None), default=None)

    def finish(self) -> None:
        self._main.finish()
        self._other.finish()

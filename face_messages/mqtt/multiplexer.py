"""One session with a broker for several endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from face_messages.message import Incoming
from face_messages.mqtt.link import Link, Subscription
from face_messages.mqtt.session import Endpoint


class Multiplexer:
    """An endpoint, and others that are given what comes on the topics they subscribe to."""

    def __init__(self, main: Endpoint, *others: Endpoint) -> None:
        self._main = main
        self._all = (main, *others)
        # Up to the first wildcard: nothing else comes that begins so.
        self._theirs = [
            (name.partition("+")[0].rstrip("#"), other) for other in others for name, _ in other.subscriptions
        ]

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        return [each for endpoint in self._all for each in endpoint.subscriptions]

    def connected(self, link: Link) -> None:
        for endpoint in self._all:
            endpoint.connected(link)

    def disconnected(self) -> None:
        for endpoint in self._all:
            endpoint.disconnected()

    def received(self, packet: Incoming) -> None:
        topic = f"{packet.topic}/"
        next((other for begin, other in self._theirs if topic.startswith(begin)), self._main).received(packet)

    def acknowledged(self, packet_id: int, reason: int) -> None:
        """Each knows the packets that it has sent."""
        for endpoint in self._all:
            endpoint.acknowledged(packet_id, reason)

    def work(self, now: float) -> float | None:
        return min((wait for each in self._all if (wait := each.work(now)) is not None), default=None)

    def finish(self) -> None:
        for endpoint in self._all:
            endpoint.finish()

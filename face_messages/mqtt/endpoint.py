"""What a session serves: a sender, a taker, or several endpoints at once."""

from collections.abc import Callable, Sequence

from face_messages.message import Incoming
from face_messages.mqtt.client import Link, Subscription


class Endpoint:
    """Takes part in a session. All methods but `wake` are called in the session's thread; by default they do nothing.

    `link` is the connection while it is up, or None.
    """

    #: Those with QoS 0 are good to have: a broker may refuse them, and an orderly stop ends them.
    subscriptions: Sequence[Subscription] = ()
    link: Link | None = None
    #: Has the session ask for work, from any thread.
    wake: Callable[[], None] = staticmethod(lambda: None)

    def attach(self, wake: Callable[[], None]) -> None:
        """Called by the session that serves this endpoint."""
        self.wake = wake

    def connected(self, link: Link) -> None:
        self.link = link

    def disconnected(self) -> None:
        self.link = None

    def received(self, packet: Incoming) -> None:
        """A PUBLISH came."""

    def acknowledged(self, packet_id: int, reason: int) -> None:
        """A PUBACK came."""

    def work(self, now: float) -> float | None:  # noqa: ARG002 - for those that override it
        """Does what there is to do; seconds until it wants to be asked again, or None: when woken."""
        return None

    def finish(self) -> None:
        """Sends what must still go before the connection is ended for good."""


class Multiplexer(Endpoint):
    """An endpoint, and others that are given what comes on the topics they subscribe to."""

    def __init__(self, main: Endpoint, *others: Endpoint) -> None:
        self._main = main
        self._all = (main, *others)
        self.subscriptions = [each for endpoint in self._all for each in endpoint.subscriptions]
        self._topic, self._whose = "", main
        # Up to the first wildcard: nothing else comes that begins so.
        self._theirs = [
            (name.partition("+")[0].rstrip("#"), other) for other in others for name, _ in other.subscriptions
        ]

    def attach(self, wake: Callable[[], None]) -> None:
        for endpoint in self._all:
            endpoint.attach(wake)

    def connected(self, link: Link) -> None:
        for endpoint in self._all:
            endpoint.connected(link)

    def disconnected(self) -> None:
        for endpoint in self._all:
            endpoint.disconnected()

    def received(self, packet: Incoming) -> None:
        if packet.topic != self._topic:  # most come on the topic of the one before
            topic = f"{packet.topic}/"
            self._whose = next((other for begin, other in self._theirs if topic.startswith(begin)), self._main)
            self._topic = packet.topic
        self._whose.received(packet)

    def acknowledged(self, packet_id: int, reason: int) -> None:
        """Each knows the packets that it has sent."""
        for endpoint in self._all:
            endpoint.acknowledged(packet_id, reason)

    def work(self, now: float) -> float | None:
        return min((wait for each in self._all if (wait := each.work(now)) is not None), default=None)

    def finish(self) -> None:
        for endpoint in self._all:
            endpoint.finish()

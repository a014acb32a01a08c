"""The brokers that a session may use: one at a time, and the next where one is away or refuses."""

from __future__ import annotations

from collections.abc import Sequence

from face_messages.mqtt.url import BrokerUrl


class Brokers:
    """Goes round a list. It stays with a broker as long as that one serves."""

    def __init__(self, urls: BrokerUrl | Sequence[BrokerUrl]) -> None:
        self._urls = [urls] if isinstance(urls, BrokerUrl) else list(urls)
        self._at = self._failures = 0
        self._served: int | None = None
        # Those whose failure was told since one served.
        self._said: set[int] = set()

    @property
    def url(self) -> BrokerUrl:
        """The broker whose turn it is."""
        return self._urls[self._at]

    @property
    def next_url(self) -> BrokerUrl | None:
        """The broker that is tried after it, where there are several."""
        return self._urls[(self._at + 1) % len(self._urls)] if len(self._urls) > 1 else None

    @property
    def were_down(self) -> bool:
        return bool(self._said)

    def is_news(self) -> bool:
        """Whether to tell that this broker fails: once an outage."""
        if self._at in self._said:
            return False
        self._said.add(self._at)
        return True

    def serves(self) -> None:
        """The outage is over."""
        self._said.clear()

    def knows_us(self) -> bool:
        """Whether this broker also served last, so that its session has what was sent since."""
        before, self._served = self._served, self._at
        return before in (None, self._at)

    def fails(self) -> bool:
        """The next one has its turn. Whether each has had one, so that it is time for a pause."""
        self._at = (self._at + 1) % len(self._urls)
        self._failures += 1
        return self._failures % len(self._urls) == 0

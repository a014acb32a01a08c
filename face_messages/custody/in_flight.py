"""Which messages are on the wire without a receipt, and when they are to be sent again. Times are monotonic seconds."""

import heapq
import random
from dataclasses import dataclass

from face_messages.outbox.database import Kept

_LONGEST_TIMEOUT = 300.0


@dataclass(slots=True)
class Flight:
    """A message that was sent and is not confirmed yet."""

    seq: int
    size: int
    packet_id: int | None  # None once the broker has acknowledged it
    sent_at: float
    tries: int


class InFlight:
    """The messages of a window: flying, or lost and waiting for their next try."""

    def __init__(self) -> None:
        #: In the order of sending.
        self.flying: dict[bytes, Flight] = {}
        #: Payload bytes of what is flying.
        self.bytes = 0
        self._by_packet: dict[int, bytes] = {}
        self._lost: dict[bytes, Flight] = {}
        # A heap of lost messages, some of them confirmed since: the moment from which on each may go, and its place.
        self._again: list[tuple[float, int, bytes]] = []

    def __len__(self) -> int:
        return len(self.flying)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self.flying or message_id in self._lost

    def oldest(self) -> tuple[bytes, Flight]:
        """The one that has been flying for longest."""
        return next(iter(self.flying.items()))

    def start(self, kept: Kept, packet_id: int, *, tries: int, now: float) -> None:
        self._land(kept.id)  # it may have been overwritten in the outbox and have come anew
        self.flying[kept.id] = Flight(kept.seq, kept.size, packet_id, now, tries)
        self.bytes += kept.size
        self._by_packet[packet_id] = kept.id

    def confirmed(self, message_id: bytes) -> Flight | None:
        """Forgets it; the flight, unless it was not flying."""
        self._lost.pop(message_id, None)
        return self._land(message_id)

    def sent(self, packet_id: int) -> bool:
        """Whether this packet was one of a message's tries on this link."""
        return packet_id in self._by_packet

    def acknowledged(self, packet_id: int) -> bytes | None:
        """Whose packet this was, unless its receipt was faster or it was sent again since."""
        message_id = self._by_packet.pop(packet_id, None)
        if message_id is None or (flight := self.flying.get(message_id)) is None or flight.packet_id != packet_id:
            return None
        flight.packet_id = None
        return message_id

    def presume_lost(self, message_id: bytes, *, not_before: float = 0.0) -> None:
        """It is to be sent again, at once or from the moment `not_before` on."""
        if (flight := self._land(message_id)) is not None:
            self._lost[message_id] = flight
            heapq.heappush(self._again, (not_before, flight.seq, message_id))

    def next_lost(self, now: float) -> tuple[bytes, Flight] | None:
        """The oldest that is to be sent again now; it is no longer waiting then."""
        while self._again and self._again[0][0] <= now:
            _, _, message_id = heapq.heappop(self._again)
            if (flight := self._lost.pop(message_id, None)) is not None:
                return message_id, flight
        return None

    def next_due(self) -> float | None:
        """When the first of those that wait for their time may go; None where one may go already, or none waits."""
        while self._again and self._again[0][2] not in self._lost:
            heapq.heappop(self._again)
        return self._again[0][0] or None if self._again else None

    def link_is_new(self, *, session_present: bool) -> None:
        """Packet ids are void. What the broker had acknowledged it still has, unless it forgot the session."""
        self._by_packet.clear()
        for message_id, flight in list(self.flying.items()):
            if flight.packet_id is not None or not session_present:
                self.presume_lost(message_id)

    def _land(self, message_id: bytes) -> Flight | None:
        flight = self.flying.pop(message_id, None)
        if flight is not None:
            self.bytes -= flight.size
        return flight


class ResendTimer:
    """Times out after the smoothed round trip plus four times its variation, as TCP's (RFC 6298).

    What is sent more than once is not measured (Karn's algorithm, section 3), and each question that stays without an
    answer doubles the timeout (section 5.5). `at_least` bounds the shortest timeout, in seconds; drawn anew each time.
    """

    def __init__(self, at_least: tuple[float, float]) -> None:
        self._at_least = at_least
        #: Seconds within which nearly all receipts come; None while that is not known.
        self.usual: float | None = None
        self._smoothed = self._variation = 0.0
        self._last_receipt = self._since = 0.0
        self._newest_confirmed = float("-inf")
        self.resumed(0.0)

    def resumed(self, now: float) -> None:
        """The link is new, or the keeper goes on: all that is on the wire starts afresh."""
        self._since = now
        floor = random.uniform(*self._at_least)  # noqa: S311 - jitter needs no secrecy
        #: In seconds.
        self.timeout = min(max(floor, self.usual or 0.0), _LONGEST_TIMEOUT)

    def confirmed(self, now: float, sent_at: float, *, first_try: bool) -> None:
        """A receipt for a message sent at `sent_at` has come."""
        if first_try:
            sample = now - sent_at
            if self.usual is None:
                self._smoothed, self._variation = sample, sample / 2
            else:
                self._variation += (abs(self._smoothed - sample) - self._variation) / 4
                self._smoothed += (sample - self._smoothed) / 8
            self.usual = self._smoothed + 4 * self._variation
        if now - self._last_receipt > self.timeout / 2:
            self.resumed(now)  # the keeper was held up; what waited with it gets its time
        self._last_receipt = now
        self._newest_confirmed = max(self._newest_confirmed, sent_at)

    def asked(self, now: float) -> None:
        """A message was sent again for want of any receipt."""
        self._since = now
        self.timeout = min(2 * self.timeout, _LONGEST_TIMEOUT)

    def is_overdue(self, now: float, sent_at: float) -> bool:
        return now - max(sent_at, self._since) >= self.timeout

    def is_flowing(self, sent_at: float) -> bool:
        """Whether something sent later than `sent_at` has been confirmed, and not before the last silence."""
        return self._newest_confirmed > sent_at and self._last_receipt >= self._since

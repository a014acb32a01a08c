"""The sending side of custody: from an outbox to a broker, until receipts come back."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mqtt5

from face_messages.backoff import Backoff
from face_messages.link import Link, UndeliverableError
from face_messages.message import receipts_topic
from face_messages.outbox import Outbox
from face_messages.outbox_file import Kept
from face_messages.round_trip import RoundTrip
from face_messages.wire import UnreadablePublish

log = logging.getLogger(__name__)

# In bytes. What is unconfirmed lies in the broker's memory, what is prefetched or unsent in this program's.
_WINDOW_BYTES = 32 * 1024 * 1024
_PREFETCH_BYTES = 4 * 1024 * 1024
_PREFETCH = 64
_UNSENT_BYTES = 1024 * 1024

_NO_MATCHING_SUBSCRIBERS = 0x10
_PACKET_TOO_LARGE = 0x95
_QUOTA_EXCEEDED = 0x97
_LONGEST_REFUSAL = 300.0


@dataclass(slots=True)
class _Flight:
    """A message on the wire and not confirmed yet."""

    seq: int
    size: int
    packet_id: int | None  # None once the broker has acknowledged it
    sent_at: float  # monotonic seconds
    tries: int


class Sender:
    """Keeps up to a window of messages unconfirmed on the wire; what is behind waits in the outbox.

    It resends when it learns that the broker may have lost a message: the session is gone, nobody subscribes, or, as
    the last resort, no receipt comes for very long. All of it is harmless, since a message has one id.

    Args:
        outbox: where messages come from and stay until they are confirmed.
        client_id: whose receipts topic the keeper is to answer on.
        window: messages that may be unconfirmed at a time.
        resend_after: bounds of the shortest patience before the last resort, in seconds; drawn anew each time.

    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        client_id: str,
        window: int = 256,
        resend_after: tuple[float, float] = (20.0, 30.0),
    ) -> None:
        self._outbox = outbox
        self._receipts_topic = receipts_topic(client_id)
        self._window = window
        self._link: Link | None = None
        self._flights: dict[bytes, _Flight] = {}  # in the order of sending
        self._flying_bytes = 0
        self._by_packet: dict[int, bytes] = {}
        self._lost: dict[bytes, _Flight] = {}
        self._lost_order: list[tuple[int, bytes]] = []  # a heap: the oldest goes first
        self._refused_order: list[tuple[float, bytes]] = []  # a heap of those that are asked again later: when, which
        self._cursor = 0
        self._ready: deque[Kept] = deque()
        self._more = threading.Event()
        self._more.set()
        self._round_trip = RoundTrip(resend_after)
        self._refusal: str | None = None
        self._refusal_said = False
        self._refused_until = 0.0
        self._backoff = Backoff(first=0.2, longest=5.0)
        #: Messages sent since the start, and how many of them not for the first time.
        self.sent = 0
        self.resent = 0

    def outbox_has_more(self) -> None:
        """Called from any thread when the outbox took something; the connection is to be woken as well."""
        self._more.set()

    @property
    def unconfirmed(self) -> int:
        """Messages on the wire without a receipt."""
        return len(self._flights)

    # -- the endpoint, in the connection's thread ---------------------------------------------

    @property
    def subscriptions(self) -> Sequence[mqtt5.TopicFilter]:
        return [
            mqtt5.TopicFilter(
                self._receipts_topic,
                max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain_handling=mqtt5.RetainHandling.SEND_NEVER,
            )
        ]

    def connected(self, link: Link) -> None:
        self._link = link
        self._round_trip.resumed(time.monotonic())
        self._refused_until = 0.0
        for message_id, flight in list(self._flights.items()):
            # What the broker acknowledged is in its queue still, unless it forgot the session.
            if flight.packet_id is not None or not link.session_present:
                self._presume_lost(message_id)

    def disconnected(self) -> None:
        self._link = None
        self._by_packet.clear()

    def received(self, packet: mqtt5.PublishPacket | UnreadablePublish) -> None:
        """A receipt: the keeper has these messages, one correlation a line."""
        assert self._link is not None
        if isinstance(packet, mqtt5.PublishPacket):
            ids = [line for line in packet.payload.split(b"\n") if line]
            now = time.monotonic()
            for message_id in ids:
                self._lost.pop(message_id, None)
                if (flight := self._flights.pop(message_id, None)) is not None:
                    self._flying_bytes -= flight.size
                    self._round_trip.confirmed(now, flight.sent_at, first_try=flight.tries == 1)
            self._outbox.discard(ids)
        if packet.packet_id is not None:
            self._link.acknowledge(packet.packet_id)

    def acknowledged(self, packet_id: int, reason: int) -> None:
        message_id = self._by_packet.pop(packet_id, None)
        if message_id is None:
            return
        if reason == 0:
            self._taken_again()
        if (flight := self._flights.get(message_id)) is None or flight.packet_id != packet_id:
            return  # its receipt was faster
        if reason == 0:
            flight.packet_id = None
        elif reason == _PACKET_TOO_LARGE:
            self._set_aside(message_id, "larger than the broker takes")
        elif reason in (_NO_MATCHING_SUBSCRIBERS, _QUOTA_EXCEEDED):
            self._presume_lost(message_id)
            self._hold_back(reason)
        else:
            self._refused(message_id, flight)
            self._hold_back(reason, said=flight.tries > 1)

    def work(self, now: float) -> float | None:
        link = self._link
        if link is None:
            return None
        if now < self._refused_until:
            return self._refused_until - now
        self._resend_overdue(now)
        self._ask_again(now)
        # While the broker is known to refuse, one message at a time finds out whether it still does.
        window = 1 if self._refusal else self._window
        while (
            len(self._flights) < window
            and self._flying_bytes < _WINDOW_BYTES
            and link.may_publish
            and link.unsent < _UNSENT_BYTES
            and (following := self._next()) is not None
        ):
            self._send(link, *following)
        wait = self._round_trip.patience / 4 if self._flights else None
        if self._refused_order:
            due = self._refused_order[0][0] - now
            wait = due if wait is None else min(wait, due)
        return wait

    def finish(self) -> None:
        """Nothing: what is unconfirmed is in the outbox."""

    # -- what it is made of -------------------------------------------------------------------

    def _next(self) -> tuple[Kept, int] | None:
        """The message to send now, and how often it was sent before."""
        while self._lost_order:
            _, message_id = heapq.heappop(self._lost_order)
            flight = self._lost.pop(message_id, None)
            if flight is not None and (kept := self._outbox.get(flight.seq)) is not None:
                return kept, flight.tries
        if not self._ready and self._more.is_set():
            self._more.clear()  # before looking: what comes during the look sets it again
            self._ready.extend(self._outbox.take(self._cursor, limit=_PREFETCH, max_bytes=_PREFETCH_BYTES))
            if self._ready:
                self._more.set()
                self._cursor = self._ready[-1].seq
        return (self._ready.popleft(), 0) if self._ready else None

    def _send(self, link: Link, kept: Kept, tries: int) -> None:
        message = replace(kept.message, response_topic=self._receipts_topic, correlation_data=kept.id)
        try:
            packet_id = link.publish(message)
        except UndeliverableError as error:
            self._set_aside(kept.id, str(error))
            return
        if (older := self._flights.pop(kept.id, None)) is not None:
            self._flying_bytes -= older.size  # it was overwritten in the outbox and has come anew
        self._flights[kept.id] = _Flight(kept.seq, kept.size, packet_id, time.monotonic(), tries + 1)
        self._flying_bytes += kept.size
        self._by_packet[packet_id] = kept.id
        self.sent += 1
        self.resent += tries > 0

    def _presume_lost(self, message_id: bytes) -> None:
        flight = self._flights.pop(message_id)
        self._flying_bytes -= flight.size
        self._lost[message_id] = flight
        heapq.heappush(self._lost_order, (flight.seq, message_id))

    def _refused(self, message_id: bytes, flight: _Flight) -> None:
        """The broker takes others, perhaps, but not this one: it must not hold them up, and is tried again later."""
        del self._flights[message_id]
        self._flying_bytes -= flight.size
        self._lost[message_id] = flight
        pause = Backoff.scale * min(2.0**flight.tries, _LONGEST_REFUSAL)
        heapq.heappush(self._refused_order, (time.monotonic() + pause, message_id))

    def _ask_again(self, now: float) -> None:
        while self._refused_order and self._refused_order[0][0] <= now:
            _, message_id = heapq.heappop(self._refused_order)
            if (flight := self._lost.get(message_id)) is not None:
                heapq.heappush(self._lost_order, (flight.seq, message_id))

    def _set_aside(self, message_id: bytes, reason: str) -> None:
        if (flight := self._flights.pop(message_id, None)) is not None:
            self._flying_bytes -= flight.size
        log.error("message %r can never be delivered (%s): it is kept in the outbox, aside", message_id, reason)
        self._outbox.set_aside(message_id, reason)

    def _resend_overdue(self, now: float) -> None:
        """The last resort: receipts that do not come.

        Where receipts of later messages came, those without are lost. Where none comes at all the keeper is more
        likely waiting for its store, and the oldest message alone asks, ever more rarely.
        """
        if not self._flights or not self._round_trip.is_overdue(now, next(iter(self._flights.values())).sent_at):
            return
        oldest = next(iter(self._flights))
        if self._round_trip.is_flowing(self._flights[oldest].sent_at):
            overdue = [i for i, f in self._flights.items() if self._round_trip.is_overdue(now, f.sent_at)]
        else:
            overdue = [oldest]
            self._round_trip.asked(now)
        for message_id in overdue:
            self._presume_lost(message_id)

    def _hold_back(self, reason: int, *, said: bool = False) -> None:
        if reason == _NO_MATCHING_SUBSCRIBERS:
            refusal = "nobody takes the messages at the broker yet: they are kept until somebody does"
        else:
            refusal = f"the broker refuses messages (reason 0x{reason:02x}): check its access rules; they are kept"
        if refusal != self._refusal:
            if not said:
                log.warning("%s", refusal)
            self._refusal, self._refusal_said = refusal, not said
        if (now := time.monotonic()) >= self._refused_until:  # a whole window may come back: that is one refusal
            self._refused_until = now + self._backoff.next_delay()

    def _taken_again(self) -> None:
        if self._refusal is not None:
            if self._refusal_said:
                log.info("messages are taken at the broker")
            self._refusal = None
        self._refused_until = 0.0
        self._backoff.reset()

"""The sending side of custody: from an outbox to a broker, until receipts come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from paho.mqtt.subscribeoptions import SubscribeOptions

from face_messages.custody.in_flight import InFlight
from face_messages.custody.resend_timer import ResendTimer
from face_messages.custody.send_order import SendOrder
from face_messages.message import Incoming, Message, Received, reasons_of, receipts_topic
from face_messages.mqtt.endpoint import Endpoint
from face_messages.mqtt.link import Link, UndeliverableError
from face_messages.outbox.database import Kept
from face_messages.outbox.outbox import Outbox
from face_messages.service.backoff import Backoff

log = logging.getLogger(__name__)

# In bytes. What is unconfirmed lies in the broker's memory, what is unsent in this program's.
_WINDOW_BYTES = 32 * 1024 * 1024
_UNSENT_BYTES = 128 * 1024

_NO_MATCHING_SUBSCRIBERS = 0x10
_PACKET_TOO_LARGE = 0x95
_QUOTA_EXCEEDED = 0x97
_LONGEST_REFUSAL = 300.0
# How long a receipt is waited for before a message is written to the disk, in seconds.
_PATIENCE = 0.5


class Sender(Endpoint):
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
        self, outbox: Outbox, *, client_id: str, window: int = 256, resend_after: tuple[float, float] = (20.0, 30.0)
    ) -> None:
        self._outbox = outbox
        self._receipts_topic = receipts_topic(client_id)
        self._window = window
        self._in_flight = InFlight()
        self._order = SendOrder(outbox, backlog=2 * window)
        self._timer = ResendTimer(resend_after)
        self._refusal: str | None = None
        self._refusal_said = False
        self._refused_until = 0.0
        self._backoff = Backoff(first=0.2, longest=5.0)
        #: Messages sent since the start, and how many of them not for the first time.
        self.sent = 0
        self.resent = 0
        never = SubscribeOptions.RETAIN_DO_NOT_SEND
        self.subscriptions = [(self._receipts_topic, SubscribeOptions(qos=1, retainHandling=never))]

    @property
    def unconfirmed(self) -> int:
        """Messages on the wire without a receipt."""
        return len(self._in_flight)

    # -- the endpoint, in the connection's thread ---------------------------------------------

    def attach(self, wake: Callable[[], None]) -> None:
        self._outbox.on_kept = wake

    def connected(self, link: Link) -> None:
        self.link = link
        self._timer.resumed(time.monotonic())
        self._refused_until = 0.0
        self._in_flight.link_is_new(session_present=link.session_present)

    def disconnected(self) -> None:
        self.link = None
        self._outbox.write_delay = 0.0

    def received(self, packet: Incoming) -> None:
        """A receipt: the keeper has these messages, one correlation a line. Or its refusal of one message."""
        assert self.link is not None
        if isinstance(packet, Received) and (reasons := reasons_of(packet.message.user_properties)):
            self._refused(packet.message, reasons)
        elif isinstance(packet, Received):
            ids = [line for line in packet.message.payload.split(b"\n") if line]
            now = time.monotonic()
            for message_id in ids:
                if (flight := self._in_flight.confirmed(message_id)) is not None:
                    self._timer.confirmed(now, flight.sent_at, first_try=flight.tries == 1)
            self._outbox.discard(ids)
        if packet.packet_id is not None:
            self.link.acknowledge(packet.packet_id)

    def acknowledged(self, packet_id: int, reason: int) -> None:
        if not self._in_flight.sent(packet_id):
            return  # a status, not a message
        if reason == 0:
            self._taken_again()
        message_id = self._in_flight.acknowledged(packet_id)
        if message_id is None or reason == 0:
            return  # None where its receipt was faster
        if reason == _PACKET_TOO_LARGE:
            self._set_aside(message_id, "larger than the broker takes")
        elif reason in (_NO_MATCHING_SUBSCRIBERS, _QUOTA_EXCEEDED):
            self._in_flight.presume_lost(message_id)
            self._hold_back(reason)
        else:
            # The broker takes others, perhaps, but not this one: it must not hold them up.
            tries = self._in_flight.flying[message_id].tries
            pause = Backoff.scale * min(2.0**tries, _LONGEST_REFUSAL)
            self._in_flight.presume_lost(message_id, not_before=time.monotonic() + pause)
            self._hold_back(reason, said=tries > 1)

    def work(self, now: float) -> float | None:
        link = self.link
        if link is None:
            return None
        self._outbox.write_delay = self._patience(now)
        if now < self._refused_until:
            return self._refused_until - now
        self._resend_overdue(now)
        # While the broker is known to refuse, one message at a time finds out whether it still does.
        window = 1 if self._refusal else self._window
        while (
            len(self._in_flight) < window
            and self._in_flight.bytes < _WINDOW_BYTES
            and link.may_publish
            and link.unsent < _UNSENT_BYTES
            and (following := self._next(now)) is not None
        ):
            self._send(link, *following)
        wait = self._timer.timeout / 4 if self._in_flight else None
        if (due := self._in_flight.next_due()) is not None:
            wait = due - now if wait is None else min(wait, due - now)
        return wait

    # -- what it is made of -------------------------------------------------------------------

    def _patience(self, now: float) -> float:
        """Where receipts are quick, most messages need not be written to the disk."""
        usual = self._timer.usual
        if usual is None or usual > _PATIENCE / 2 or self._refusal is not None:
            return 0.0
        silent = len(self._in_flight) > 0 and now - self._in_flight.oldest()[1].sent_at > _PATIENCE
        return 0.0 if silent else _PATIENCE

    def _next(self, now: float) -> tuple[Kept, int] | None:
        """The message to send now, and how often it was sent before."""
        while (lost := self._in_flight.next_lost(now)) is not None:
            message_id, flight = lost
            if (kept := self._outbox.get(message_id, flight.seq)) is not None:
                return kept, flight.tries
        return None if (following := self._order.next()) is None else (following, 0)

    def _send(self, link: Link, kept: Kept, tries: int) -> None:
        try:
            packet_id = link.publish(kept.message, reply=(self._receipts_topic, kept.id))
        except UndeliverableError as error:
            self._set_aside(kept.id, str(error))
            return
        self._in_flight.start(kept, packet_id, tries=tries + 1, now=time.monotonic())
        self.sent += 1
        self.resent += tries > 0

    def _refused(self, answer: Message, reasons: list[str]) -> None:
        # What is not on the wire now will be refused again, if it is true.
        message_id = answer.correlation_data
        if message_id in self._in_flight.flying and not answer.payload and len(reasons) == 1:
            self._set_aside(message_id, reasons[0])

    def _set_aside(self, message_id: bytes, reason: str) -> None:
        self._in_flight.confirmed(message_id)
        log.error(
            "message %r can never be delivered (%s): it is kept in the outbox, aside;"
            " look at it with: python3 -m face_messages.dead_letters list",
            message_id,
            reason,
        )
        self._outbox.dead_letter(message_id, reason)

    def _resend_overdue(self, now: float) -> None:
        """The last resort: receipts that do not come.

        Where receipts of later messages came, those without are lost. Where none comes at all the keeper is more
        likely waiting for its store, and the oldest message alone asks, ever more rarely.
        """
        if not self._in_flight:
            return
        message_id, oldest = self._in_flight.oldest()
        if not self._timer.is_overdue(now, oldest.sent_at):
            return
        overdue = [message_id]
        if self._timer.is_flowing(oldest.sent_at):
            flying = self._in_flight.flying.items()
            overdue = [each for each, flight in flying if self._timer.is_overdue(now, flight.sent_at)]
        else:
            self._timer.asked(now)
        for each in overdue:
            self._in_flight.presume_lost(each)

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

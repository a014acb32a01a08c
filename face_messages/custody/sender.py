"""The sending side of custody: from an outbox to a broker, until receipts come back."""

import logging
import time
from collections.abc import Callable

from paho.mqtt.subscribeoptions import SubscribeOptions

from face_messages.custody.in_flight import InFlight, ResendTimer
from face_messages.custody.send_order import SendOrder
from face_messages.message import Incoming, Received, reasons_of, receipts_topic
from face_messages.mqtt.client import Link, UndeliverableError
from face_messages.mqtt.endpoint import Endpoint
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
_LONGEST_PAUSE = 300.0
# How long a message is not written to the disk where receipts are quick, in seconds.
_WRITE_DELAY = 0.5


class Sender(Endpoint):
    """Keeps up to a window of messages unconfirmed on the wire; the others wait in the outbox.

    It resends when it learns that the broker may have lost a message: the session is gone, nobody subscribes, or, as
    the last resort, no receipt comes for very long. All of it is harmless, since a message has one id.

    Args:
        outbox: where messages come from and stay until they are confirmed.
        client_id: whose receipts topic the keeper is to answer on.
        window: messages that may be unconfirmed at a time.
        resend_after: bounds of the shortest timeout before the last resort, in seconds; drawn anew each time.
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
        # Why the broker takes no messages, whether that was said, and until when it is left alone.
        self._held_back: str | None = None
        self._held_back_said = False
        self._held_back_until = 0.0
        self._backoff = Backoff(first=0.2, longest=5.0)
        #: Messages sent since the start, and how many of them not for the first time.
        self.sent = self.resent = 0
        never = SubscribeOptions.RETAIN_DO_NOT_SEND
        self.subscriptions = [(self._receipts_topic, SubscribeOptions(qos=1, retainHandling=never))]

    @property
    def unconfirmed(self) -> int:
        """Messages on the wire without a receipt."""
        return len(self._in_flight)

    # -- the endpoint, in the session's thread ------------------------------------------------

    def attach(self, wake: Callable[[], None]) -> None:
        self._outbox.on_kept = wake

    def connected(self, link: Link) -> None:
        self.link = link
        self._timer.resumed(time.monotonic())
        self._held_back_until = 0.0
        self._in_flight.link_is_new(session_present=link.session_present)

    def disconnected(self) -> None:
        self.link = None
        self._outbox.write_delay = 0.0

    def received(self, packet: Incoming) -> None:
        """A receipt: the keeper has these messages, one correlation a line. Or its refusal of one message."""
        assert self.link is not None
        if isinstance(packet, Received):
            message = packet.message
            if reasons := reasons_of(message.user_properties):
                # What is not on the wire now will be refused again, if it is true.
                message_id = message.correlation_data
                if message_id in self._in_flight.flying and not message.payload and len(reasons) == 1:
                    self._dead_letter(message_id, reasons[0])
            else:
                self._confirmed([line for line in message.payload.split(b"\n") if line])
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
            self._dead_letter(message_id, "larger than the broker takes")
        elif reason in (_NO_MATCHING_SUBSCRIBERS, _QUOTA_EXCEEDED):
            self._in_flight.presume_lost(message_id)
            self._hold_back(reason)
        else:
            # The broker takes others, perhaps, but not this one: it must not hold them up.
            tries = self._in_flight.flying[message_id].tries
            pause = Backoff.scale * min(2.0**tries, _LONGEST_PAUSE)
            self._in_flight.presume_lost(message_id, not_before=time.monotonic() + pause)
            self._hold_back(reason, said=tries > 1)

    def work(self, now: float) -> float | None:
        link = self.link
        if link is None:
            return None
        self._outbox.write_delay = self._write_delay(now)
        if now < self._held_back_until:
            return self._held_back_until - now
        self._resend_overdue(now)
        # While the broker takes no messages, one at a time finds out whether that is still so.
        window = 1 if self._held_back else self._window
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

    def _write_delay(self, now: float) -> float:
        """Where receipts are quick, most messages need not be written to the disk."""
        usual = self._timer.usual
        if usual is None or usual > _WRITE_DELAY / 2 or self._held_back is not None:
            return 0.0
        silent = len(self._in_flight) > 0 and now - self._in_flight.oldest()[1].sent_at > _WRITE_DELAY
        return 0.0 if silent else _WRITE_DELAY

    def _next(self, now: float) -> tuple[Kept, int] | None:
        """The message to send now, and how often it was sent before."""
        while (lost := self._in_flight.next_lost(now)) is not None:
            message_id, flight = lost
            if (kept := self._outbox.get(message_id, flight.seq)) is not None:
                return kept, flight.tries
        while (following := self._order.next()) is not None:
            if following.id not in self._in_flight:
                return following, 0
        return None

    def _send(self, link: Link, kept: Kept, tries: int) -> None:
        try:
            packet_id = link.publish(kept.message, reply=(self._receipts_topic, kept.id))
        except UndeliverableError as error:
            self._dead_letter(kept.id, str(error))
            return
        self._in_flight.start(kept, packet_id, tries=tries + 1, now=time.monotonic())
        self.sent += 1
        self.resent += tries > 0

    def _confirmed(self, ids: list[bytes]) -> None:
        now = time.monotonic()
        for message_id in ids:
            if (flight := self._in_flight.confirmed(message_id)) is not None:
                self._timer.confirmed(now, flight.sent_at, first_try=flight.tries == 1)
        self._outbox.discard(ids)

    def _dead_letter(self, message_id: bytes, reason: str) -> None:
        self._in_flight.confirmed(message_id)
        log.error(
            "message %r can never be delivered (%s): it is a dead letter, kept in the outbox;"
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
        why = f"the broker refuses messages (reason 0x{reason:02x}): check its access rules; they are kept"
        if reason == _NO_MATCHING_SUBSCRIBERS:
            why = "nobody takes the messages at the broker yet: they are kept until somebody does"
        if why != self._held_back:
            if not said:
                log.warning("%s", why)
            self._held_back, self._held_back_said = why, not said
        if (now := time.monotonic()) >= self._held_back_until:  # a whole window may come back: that is one refusal
            self._held_back_until = now + self._backoff.next_delay()

    def _taken_again(self) -> None:
        if self._held_back is not None and self._held_back_said:
            log.info("messages are taken at the broker")
        self._held_back = None
        self._held_back_until = 0.0
        self._backoff.reset()

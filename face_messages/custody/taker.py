"""The taking side of custody: from a broker into safety, with a receipt for a sender that asked for one."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from paho.mqtt.subscribeoptions import SubscribeOptions

from face_messages.message import MAX_MESSAGE_BYTES, Incoming, Message, UnreadablePublish, refusal_of
from face_messages.mqtt.client import Link, UndeliverableError
from face_messages.mqtt.endpoint import Endpoint

log = logging.getLogger(__name__)

# Seconds that receipts wait for more: it makes one message of many and is not felt.
_LINGER = 0.005
_BATCH = 100
# Beyond this many bytes held, the broker keeps the rest until some of it is safe.
_HELD_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Taken:
    """A message that was handed over. Its holder calls `safe`, once, when it can no longer be lost, or `refuse`."""

    message: Message
    #: The link that it came by, and what its acknowledgement there must carry.
    link: Link
    packet_id: int | None
    _settle: "Callable[[Taken, str | None], None]"

    def safe(self) -> None:
        """Lets the broker forget the message and its sender discard it. Callable from any thread."""
        self._settle(self, None)

    def refuse(self, reason: str) -> bool:
        """Gives it back to its sender, as a dead letter, and lets the broker forget it. Callable from any thread.

        False where no sender has asked for an answer: then the caller still has it, as to let go would be to lose it.
        """
        if self.message.wants_receipt:
            self._settle(self, reason)
        return self.message.wants_receipt


class Taker(Endpoint):
    """Subscribes to a topic and all below it, and hands each message to `take`.

    `take` is called in the session's thread and must not block. The message stays with the broker, unacknowledged, and
    with its sender, unconfirmed, until `safe` is called on what `take` was given. `group` names a shared subscription.
    Messages of more than `max_size` bytes are refused; payload and properties count.
    """

    def __init__(
        self, topic: str, take: Callable[[Taken], None], *, group: str = "", max_size: int = MAX_MESSAGE_BYTES
    ) -> None:
        # A retained message comes with a new subscription only, not again with each reconnect; never with a shared one.
        retained = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if group else SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
        name = f"$share/{group}/{topic}/#" if group else f"{topic}/#"
        self.subscriptions = [(name, SubscribeOptions(qos=1, retainHandling=retained))]
        self._take = take
        self._max_size = max_size
        self._settled: deque[tuple[Taken, str | None]] = deque()
        self._receipts: dict[str, list[bytes]] = {}
        self._refusals: list[Message] = []
        self._answers_due: float | None = None
        self._acks: list[int] = []  # packet ids of what is answered with them, on the present link
        self._stopped = False
        #: Messages held that are not safe yet, and their size in bytes.
        self.held = self.held_bytes = 0
        #: Since the start: messages handed over, and messages refused (too large or unreadable).
        self.taken = self.refused = 0

    def stop_taking(self, *, seconds: float, is_hopeless: Callable[[], bool] = lambda: False) -> None:
        """Reads nothing more from the broker, and waits this long at most for what is held to become safe."""
        self._stopped = True
        self.wake()
        deadline = time.monotonic() + seconds
        while self.held and time.monotonic() < deadline and not is_hopeless():
            time.sleep(0.01)

    def _settle(self, taken: Taken, refused_for: str | None) -> None:
        self._settled.append((taken, refused_for))
        if self._answers_due is None:  # otherwise `work` is called in a moment, and looks again when it has answered
            self.wake()

    # -- the endpoint, in the session's thread ------------------------------------------------

    def disconnected(self) -> None:
        self.link = None
        self._acks.clear()

    def received(self, packet: Incoming) -> None:
        assert self.link is not None
        if self._stopped:
            return  # neither taken nor acknowledged: it comes again
        if isinstance(packet, UnreadablePublish):
            self._say_refused(packet.topic, packet.size, packet.reason)
            if packet.packet_id is not None:
                self.link.acknowledge(packet.packet_id)
            return
        message = packet.message
        taken = Taken(message, self.link, packet.packet_id, self._settle)
        if message.size > self._max_size:
            reason = f"larger than {self._max_size} bytes"
            self._say_refused(message.topic, message.size, reason)
            self._answer(taken, reason, time.monotonic())
        else:
            self.held += 1
            self.held_bytes += message.size
            self.taken += 1
            self._take(taken)

    def work(self, now: float) -> float | None:
        while self._settled:
            taken, refused_for = self._settled.popleft()
            self.held -= 1
            self.held_bytes -= taken.message.size
            self._answer(taken, refused_for, now)
        if self.link is None:
            return None
        self.link.reading = not self._stopped and self.held_bytes < _HELD_BYTES
        if self._answers_due is None:
            return None
        if now < self._answers_due and sum(map(len, self._receipts.values())) < _BATCH:
            return self._answers_due - now
        return self._send_answers(self.link)

    def finish(self) -> None:
        self.work(math.inf)

    # -- what it is made of -------------------------------------------------------------------

    def _answer(self, taken: Taken, refused_for: str | None, now: float) -> None:
        message = taken.message
        # A packet id means nothing on another connection than its own; there the broker sends the message again.
        if taken.link is self.link and taken.packet_id is not None:
            if message.wants_receipt:
                self._acks.append(taken.packet_id)
            else:
                taken.link.acknowledge(taken.packet_id)
        if not message.wants_receipt:
            return
        assert message.response_topic is not None
        assert message.correlation_data is not None
        if refused_for is None:
            self._receipts.setdefault(message.response_topic, []).append(message.correlation_data)
        else:
            self._refusals.append(refusal_of(message, refused_for))
        if self._answers_due is None:
            self._answers_due = now + _LINGER

    def _send_answers(self, link: Link) -> float | None:
        while (self._refusals or self._receipts) and link.may_publish:
            answer = self._refusals.pop() if self._refusals else self._next_receipt()
            try:
                link.publish(answer)
            except UndeliverableError as error:
                # A lost receipt only causes a resend; where even a face passes, so does this.
                log.warning("a receipt for %r cannot be sent: %s", answer.topic, error)
        if self._refusals or self._receipts:
            return 0.1
        # Behind the receipts: if we die in between, the broker redelivers at once.
        for packet_id in self._acks:
            link.acknowledge(packet_id)
        self._acks.clear()
        self._answers_due = None
        return 0.0 if self._settled else None

    def _next_receipt(self) -> Message:
        topic, correlations = self._receipts.popitem()
        if len(correlations) > _BATCH:
            self._receipts[topic] = correlations[_BATCH:]
        return Message(topic, b"\n".join(correlations[:_BATCH]))

    def _say_refused(self, topic: str, size: int, reason: str) -> None:
        self.refused += 1
        log.error("a message of %d bytes on %r was refused: %s", size, topic[:200], reason)

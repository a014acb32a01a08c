"""An operator's word from the cloud to the cameras of this edge."""

import logging
import re
from collections import deque

from face_messages import Message, Taken
from face_messages.message import printable
from face_messages.mqtt.endpoint import Endpoint

log = logging.getLogger(__name__)

_FAILURE = 0x80


class ControlRelay(Endpoint):
    """Publishes at the edge broker, retained, what was said below `topic` at the cloud broker; an endpoint of the edge.

    Each message is passed on once, when it is said, and never the other way, so that the last word counts, wherever it
    was said. The cloud broker keeps a message until the edge broker has it.
    """

    def __init__(self, topic: str) -> None:
        self._camera = re.compile(re.escape(topic) + r"/[A-Za-z0-9._-]{1,63}")
        self._said: deque[Taken] = deque()
        self._flying: dict[int, Taken] = {}

    def take(self, taken: Taken) -> None:
        """Called in any thread with what came from the cloud."""
        # No broker sends such a topic; one that did could have the edge broker hang up.
        if self._camera.fullmatch(taken.message.topic):
            self._said.append(taken)
            self.wake()
        else:
            log.warning("%r names no camera and is not passed on", printable(taken.message.topic))
            taken.safe()

    def disconnected(self) -> None:
        self.link = None
        self._said.extendleft(reversed(self._flying.values()))
        self._flying.clear()

    def acknowledged(self, packet_id: int, reason: int) -> None:
        if (taken := self._flying.pop(packet_id, None)) is None:
            return
        if reason >= _FAILURE:
            log.error("the edge broker refuses what the cloud says on %s (reason 0x%02x)", taken.message.topic, reason)
        taken.safe()

    def work(self, now: float) -> None:
        del now  # nothing waits for its time
        while self._said and self.link is not None and self.link.may_publish:
            taken = self._said.popleft()
            message = Message(taken.message.topic, taken.message.payload)
            self._flying[self.link.publish(message, retain=True)] = taken
            said = printable(message.payload.decode(errors="replace"))
            log.info("passed on from the cloud: %r on %s", said, message.topic)

"""An operator pauses and resumes a camera by a retained message."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_face_detection.sources.source import Source
from face_messages.message import Incoming, Received, printable
from face_messages.mqtt.endpoint import Endpoint

_log = logging.getLogger(__name__)

# A cleared retained message is an empty one.
_PAUSES = {b"pause": True, b"resume": False, b"": False}
_LONGEST = 64


class PauseSwitch(Endpoint):
    """Pauses and resumes `source` as the messages on `topic` say; an endpoint of the session with the broker.

    The last word holds until the next one. Neither a broker that is away or has lost the message changes that, nor a
    restart: while the source is paused, there is an empty file beside the outbox.
    """

    def __init__(self, source: Source, *, topic: str, outbox: Path) -> None:
        self._source = source
        self._topic = topic
        # Sent again with each connection, in case the note was lost.
        always = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
        self.subscriptions = [(topic, SubscribeOptions(qos=1, retainHandling=always))]
        self._note = outbox.with_name(f"{outbox.name}.paused")
        self._is_puzzled = False
        #: Pauses since the start.
        self.pauses = 0
        #: Set when the broker has said what it knows.
        self.told = threading.Event()
        if os.path.exists(self._note):  # noqa: PTH110 - Path.exists raises on a disk that fails
            source.pause()
            _log.info("paused, as before the restart: say resume on %s to go on", topic)

    def received(self, packet: Incoming) -> None:
        word = packet.message.payload if isinstance(packet, Received) else b"(unreadable)"
        pause = _PAUSES.get(word.strip().lower() or word) if len(word) <= _LONGEST else None
        if pause is not None:
            self._is_puzzled = False
            self._turn(pause=pause)
        elif not self._is_puzzled:
            self._is_puzzled = True
            said = printable(word[:_LONGEST].decode(errors="replace"))
            _log.warning("%r on %s changes nothing: pause and resume are known there", said, self._topic)
        if packet.packet_id is not None:
            assert self.link is not None
            self.link.acknowledge(packet.packet_id)

    def acknowledged(self, packet_id: int, reason: int) -> None:
        """The first PUBACK comes after the subscription, and so after what is retained."""
        del packet_id, reason
        self.told.set()

    def _turn(self, *, pause: bool) -> None:
        if pause == self._source.paused:
            return
        if pause:
            self._source.pause()
            self.pauses += 1
            _log.info("paused, as was said on %s: the camera is closed", self._topic)
        else:
            self._source.resume()
            _log.info("resumed, as was said on %s", self._topic)
        # The note comes last: a slow disk must not delay a pause. The broker keeps the message until we acknowledge it.
        try:
            if pause:
                self._note.touch()
            else:
                self._note.unlink(missing_ok=True)
            folder = os.open(self._note.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            _log.warning("%s cannot be changed (%s): a restart will not know the last word", self._note, error)

"""Frames to faces to outbox."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime

from edge_face_detection.clock import CaptureClock, last_face_at, remember_face
from edge_face_detection.pause import PauseSwitch
from edge_face_detection.pictures.cutter import FaceCutter
from edge_face_detection.pictures.mask import Mask
from edge_face_detection.settings import DetectorSettings
from edge_face_detection.sources.frame import SourceError, UnreadableFrameError
from edge_face_detection.sources.source import Source
from face_messages import FaceEvent, Outbox
from face_messages.service import program

log = logging.getLogger(__name__)

# Faces that may wait for the outbox's disk while detection goes on.
WAITING_FACES = 64


@dataclass(eq=False)
class Detection:
    """Publishes the faces of the frames.

    The outbox takes faces in the background. While it has no room, detection waits, and a live camera's frames are
    skipped. So every face that was found is kept.
    """

    settings: DetectorSettings
    source: Source
    cutter: FaceCutter
    outbox: Outbox
    switch: PauseSwitch
    stop: threading.Event
    #: Since the start: frames looked at, faces found in them, frames that could not be decoded.
    frames: int = 0
    faces: int = 0
    unreadable: int = 0
    #: When the last face was seen.
    last_face: datetime | None = None

    def __post_init__(self) -> None:
        self._room = threading.Semaphore(WAITING_FACES)

    def run(self) -> int:
        """Ends with the source or when `stop` is set; all faces are then in the outbox if that has room.

        Returns the exit status.
        """
        try:
            self._publish_faces()
        except SourceError as error:
            log.log(logging.ERROR, "%s", error)  # no traceback: the line says it all
            return program.EXIT_FAILED
        return 0

    def _publish_faces(self) -> None:
        pauses, mask, clock = 0, Mask(self.settings.privacy_mask), CaptureClock(last_face_at(self.settings.outbox_path))
        for frame in map(clock.stamped, self.source.frames()):
            frame.turn(self.settings.video_rotate)
            if mask.polygons:
                frame.hide(mask.paint)
            if self.switch.pauses != pauses:
                pauses = self.switch.pauses
                if not self._put(self.cutter.finish()):
                    return
            try:
                faces = self.cutter.faces_in(frame)
            except UnreadableFrameError as error:
                if not self.unreadable:
                    log.warning("frame %d is passed over, and further ones like it: %s", frame.number, error)
                self.unreadable += 1
                continue
            if faces:
                remember_face(self.settings.outbox_path, frame.captured_at)
            if not self._put(faces):
                return
            self.frames += 1
            if self.stop.is_set():
                break
        if self._put(self.cutter.finish()):
            # The outbox has all faces when there is room for as many as may wait.
            for _ in range(WAITING_FACES):
                if not self._wait_for_room():
                    return

    def _put(self, faces: list[tuple[FaceEvent, bytes]]) -> bool:
        for event, png in faces:
            if not self._wait_for_room():
                return False
            message = event.to_message(self.settings.mqtt_topic, png)
            self.outbox.put(event.id.encode(), message, self._room.release)
            self.faces += 1
            self.last_face = event.time
        return True

    def _wait_for_room(self) -> bool:
        while not self._room.acquire(timeout=0.5):
            if self.stop.is_set():
                return self._room.acquire(timeout=1.0)
        return True

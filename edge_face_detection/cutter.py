"""From a frame to face events with their pictures: detect, cut out, encode. No I/O."""

from __future__ import annotations

import logging

from edge_face_detection.crops import crop, encode_png
from edge_face_detection.detector import FaceDetector
from edge_face_detection.frames import Frame
from face_messages import FaceEvent, new_id
from face_messages.message import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)


class FaceCutter:
    """Finds the faces of a frame and cuts them out.

    Args:
        detector: finds them.
        edge_id: name of the edge device.
        camera_id: name of the camera.
        margin: what is cut out around a face, as a fraction of its sides.
        max_png: what a picture may have at most, in bytes.

    """

    def __init__(
        self, detector: FaceDetector, *, edge_id: str, camera_id: str, margin: float, max_png: int = MAX_MESSAGE_BYTES
    ) -> None:
        self._max_png = max_png
        self._detector = detector
        self._edge_id = edge_id
        self._camera_id = camera_id
        self._margin = margin

    def faces_in(self, frame: Frame) -> list[tuple[FaceEvent, bytes]]:
        """An event and a PNG file's bytes for each face."""
        height, width = frame.image.shape[:2]
        found = []
        for face in self._detector.detect(frame.image):
            cut = crop(frame.image, face, margin=self._margin)
            png = encode_png(cut)
            while len(png) > self._max_png:
                # A face that fills a frame of 4K or more. At half the size it is still a good picture of it.
                cut = cut[::2, ::2]
                png = encode_png(cut)
            event = FaceEvent(
                id=new_id(),
                edge_id=self._edge_id,
                camera_id=self._camera_id,
                time=frame.captured_at,
                frame=frame.number,
                framesize=(width, height),
                facebox=(face.x, face.y, face.width, face.height),
                score=face.score,
            )
            found.append((event, png))
        return found

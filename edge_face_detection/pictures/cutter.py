"""From a frame to face events with their PNGs: detect, cut out, encode. No I/O."""

from __future__ import annotations

import secrets
from dataclasses import KW_ONLY, dataclass

from edge_face_detection.faces.detector import FaceDetector
from edge_face_detection.pictures.best import BestShots, Shot, sharpness
from edge_face_detection.pictures.png import encode_png
from edge_face_detection.sources.frame import Frame
from face_messages import FaceEvent, new_id
from face_messages.message import MAX_MESSAGE_BYTES


@dataclass(eq=False)
class FaceCutter:
    """Finds the faces of a frame and cuts them out."""

    detector: FaceDetector
    _: KW_ONLY
    edge_id: str
    camera_id: str
    #: What is cut out around a face, as a fraction of its sides.
    margin: float
    #: Less sharp faces are passed over, see best.sharpness; 0 takes all.
    min_sharpness: float = 0.0
    #: Publishes the best picture of each track, when it ends and as often as this; None: every face.
    best_seconds: float | None = None
    #: Largest size of a picture, in bytes.
    max_png: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        best = self.best_seconds
        if best is None:
            self._best = None
        else:
            self._best = BestShots(seconds=best, margin=self.margin, frontality=self.detector.frontality)
        # Tracks count from 1 again in each run of the program, and mean others after each `finish`.
        self._run = secrets.token_hex(4)

    def faces_in(self, frame: Frame) -> list[tuple[FaceEvent, bytes]]:
        """An event and a PNG file's bytes for each face to be published now. Raises UnreadableFrameError."""
        if self._best is None and self.detector.tracks:
            frame.decode()  # at once: a face is going to be cut out, and grey besides would cost more
        faces = self.detector.faces(frame)
        if self.min_sharpness:
            faces = [face for face in faces if sharpness(frame, face) >= self.min_sharpness]
        if self._best is None:
            return [self._publish(Shot.of(face, frame, margin=self.margin)) for face in faces]
        return [self._publish(shot) for shot in self._best.next(frame, faces, self.detector.tracks)]

    def finish(self) -> list[tuple[FaceEvent, bytes]]:
        """The faces that are still to be published at the end of the frames, or at a pause. It ends all tracks."""
        ready = [self._publish(shot) for shot in self._best.finish()] if self._best else []
        self._run = secrets.token_hex(4)
        return ready

    def _publish(self, shot: Shot) -> tuple[FaceEvent, bytes]:
        cut, face = shot.image, shot.face
        while len(png := encode_png(cut)) > self.max_png:
            # A face that fills a frame of 4K or more. At half the size it is still a good picture of it.
            cut = cut[::2, ::2]
        event = FaceEvent(
            id=new_id(),
            edge_id=self.edge_id,
            camera_id=self.camera_id,
            time=shot.captured_at,
            frame=shot.number,
            framesize=shot.framesize,
            facebox=(face.x, face.y, face.width, face.height),
            score=face.score,
            track=f"{self._run}-{face.track}",
        )
        return event, png

"""A page for aiming the camera: it shows the picture, the faces found, and what becomes of each."""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import threading
import time
from collections import deque
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from edge_face_detection.faces.detector import Face, FaceDetector
from edge_face_detection.opencv import cv2
from edge_face_detection.pictures.best import sharpness
from edge_face_detection.pictures.mask import Mask
from edge_face_detection.settings import DetectorSettings
from edge_face_detection.sources.frame import Frame, Image, UnreadableFrameError
from edge_face_detection.sources.source import Source
from face_messages.service.monitor import Answer

PORT = 9100
"""Where the page is served unless METRICS_PORT says otherwise."""

MAX_VIEWERS = 4
# A viewer that does not ask for this long is gone.
_VIEWER_SECONDS = 3.0
# One picture in this time for all viewers together, its largest side in pixels, and its quality as a JPEG.
_PICTURE_SECONDS, _PICTURE_SIDE, _JPEG_QUALITY = 0.1, 960, 80
# Figures are the mean of this time; none are shown for less.
_MEAN_SECONDS, _LEAST_SECONDS = 3.0, 0.5
# A face of the preview's own tracker that overlaps a known face by this much is that face.
_SAME = 0.2

# Settings that a person chooses by eye. No others are shown: some are secret.
_SHOWN = re.compile("DETECT.*|MIN_.*|FACE_.*|BEST_.*|PRIVACY_MASK|VIDEO_(SIZE|FPS)")

_LOCAL = re.compile(r"(?i)(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")
_FILES = {
    "": ("preview.html", "text/html; charset=utf-8"),
    "preview.css": ("preview.css", "text/css; charset=utf-8"),
    "preview.js": ("preview.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Preview:
    """A detector that shows the work of another one, `detector`, on a page.

    It keeps a frame only while somebody looks, and draws in the viewers' threads, ten pictures a second for all
    together: detection does not wait, and costs nothing more while nobody looks. A viewer asks for each picture, so a
    slow one gets fewer.

    The page is local. It answers under this machine's own names only, which keeps out other sites' scripts (DNS
    rebinding). Its address holds a key that is new with each start, which keeps out other users and containers.

    `finer` finds smaller faces, which are shown as passed over. It is used in the viewers' threads only.
    """

    def __init__(
        self, detector: FaceDetector, *, settings: DetectorSettings, source: Source, finer: FaceDetector
    ) -> None:
        self._detector = detector
        self._settings = settings
        self._shown_settings = {
            name: {"value": str(getattr(settings, name.lower())), "description": setting.description}
            for setting in settings.listed()
            if _SHOWN.fullmatch(name := setting.variable)
        }
        self._source = source
        self._mask = Mask(settings.privacy_mask).polygons
        self._finer = finer
        self._key = secrets.token_urlsafe(16)
        self._frames = 0
        # The current frame, and the one before. A Frame is for one thread only, and nobody else uses that one any more.
        self._current: tuple[Frame, list[Face]] | None = None
        self._done: tuple[Frame, list[Face]] | None = None
        self._watched_until = 0.0
        # Guards all below.
        self._lock = threading.Lock()
        self._viewers: dict[str, float] = {}
        self._drawn: dict[str, Any] = {}
        self._drawn_at = 0.0
        self._samples: deque[tuple[float, int, float]] = deque()

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}/preview/{self._key}/"

    @property
    def tracks(self) -> frozenset[int]:
        return self._detector.tracks

    def faces(self, frame: Frame) -> list[Face]:
        """As the detector does it. Raises UnreadableFrameError."""
        self._frames += 1
        self._done, self._current = self._current, None
        faces = self._detector.faces(frame)
        if time.monotonic() < self._watched_until:
            self._current = frame, faces
        return faces

    def frontality(self, frame: Frame, face: Face) -> float:
        return self._detector.frontality(frame, face)

    def answer(self, path: str, host: str) -> Answer:
        """The answer to a request below /preview/, see Monitor.page."""
        if not _LOCAL.fullmatch(host):
            return _refusal("The preview is for this machine only; from another one: ssh -L 9100:127.0.0.1:9100 HOST")
        key, _, rest = path.partition("/")
        if not hmac.compare_digest(key.encode(), self._key.encode()):
            return _refusal("The preview's address has a key in it, new with each start: the program's log has it.")
        name, _, query = rest.partition("?")
        if name == "state":
            return self._state({name: values[0] for name, values in parse_qs(query).items()})
        if name not in _FILES:
            return _refusal("There is nothing here.", HTTPStatus.NOT_FOUND)
        file, content_type = _FILES[name]
        return Answer(Path(__file__).with_name(file).read_bytes(), content_type, headers=_HEADERS)

    def _state(self, query: dict[str, str]) -> Answer:
        """What is to be seen, as JSON; with a picture unless the viewer has it."""
        with self._lock:
            now = time.monotonic()
            viewer = query.get("viewer", "")[:40]
            self._viewers = {name: seen for name, seen in self._viewers.items() if now - seen < _VIEWER_SECONDS}
            if viewer not in self._viewers and len(self._viewers) >= MAX_VIEWERS:
                return _refusal(f"{MAX_VIEWERS} are looking already.", HTTPStatus.SERVICE_UNAVAILABLE)
            self._viewers[viewer] = now
            if now > self._watched_until or not self._source.is_up:
                self._drawn = {}  # no picture of the past is shown
            self._watched_until = now + _VIEWER_SECONDS
            if self._source.is_up and now - self._drawn_at >= _PICTURE_SECONDS:
                self._draw(now)
            is_new = str(self._drawn.get("number")) != query.get("after")
            body = json.dumps(self._situation(now) | (self._drawn if is_new else {})).encode()
        return Answer(body, "application/json", headers=_HEADERS)

    def _draw(self, now: float) -> None:
        done = self._done
        if done is None or done[0].number == self._drawn.get("number"):
            return
        frame, faces = done
        try:
            picture = frame.image
        except UnreadableFrameError:
            return
        if (shrink := _PICTURE_SIDE / max(frame.size)) < 1:
            size = [max(1, round(side * shrink)) for side in frame.size]
            picture = cast("Image", cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        self._drawn_at = now
        self._drawn = {
            "number": frame.number,
            "size": frame.size,
            "picture": "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode(),
            "faces": [
                {"box": face.box, "track": face.track, "score": face.score, "sharpness": sharpness(frame, face)}
                for face in [*faces, *self._smaller(frame, faces)]
            ],
        }

    def _smaller(self, frame: Frame, faces: list[Face]) -> list[Face]:
        """Faces that are too small to be among `faces`; their track is 0."""
        return [
            replace(face, track=0)
            for face in self._finer.faces(frame)
            if face.side < self._settings.min_face_size and not any(face.box.iou(known.box) > _SAME for known in faces)
        ]

    def _situation(self, now: float) -> dict[str, Any]:
        if self._samples and now - self._samples[-1][0] > _VIEWER_SECONDS:
            self._samples.clear()  # nobody looked meanwhile
        while self._samples and now - self._samples[0][0] > _MEAN_SECONDS:
            self._samples.popleft()
        sample = now, self._frames, time.process_time()
        self._samples.append(sample)
        seconds, frames, cpu = (new - old for new, old in zip(sample, self._samples[0], strict=True))
        source = self._source
        return {
            "edge": self._settings.edge_id,
            "camera": self._settings.camera_id,
            "source": source.description,
            "source_is": source.state,
            "trouble": source.trouble,
            "fps": frames / seconds if seconds > _LEAST_SECONDS else None,
            "cpu_ms": cpu / frames * 1000 if frames and seconds > _LEAST_SECONDS else None,
            "mask": self._mask,
            "settings": self._shown_settings,
        }


def _refusal(text: str, status: HTTPStatus = HTTPStatus.FORBIDDEN) -> Answer:
    return Answer(f"{text}\n".encode(), status=status, headers=_HEADERS)

"""What a camera gives over HTTP: parts of a stream, or one picture an answer."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse, IncompleteRead

import numpy as np

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.camera import CameraError, LiveCapture
from edge_face_detection.sources.frame import STILL_SECONDS, Image, Jpeg, to_bgr
from edge_face_detection.sources.multipart import MAX_PICTURE_BYTES, NoPictureError, Parts
from edge_face_detection.sources.web import Web, content_type

_CHUNK_BYTES = 2**16
_PEEKED_BYTES = 512
_MULTIPART = re.compile(rb"\s*(-{2,}\S{1,200}\s*\r?\n\s*)?(content-(type|length)|x-timestamp)\s*:", re.IGNORECASE)


class HttpCapture(LiveCapture):
    """A stream of parts, see multipart.py."""

    def __init__(self, web: Web, answer: HTTPResponse) -> None:
        self._web = web
        self._answer = answer
        self._data = b""
        self._pictures = self._read()

    def grab(self) -> bool:
        try:
            self._data = next(self._pictures)
        except StopIteration:
            return False
        except NoPictureError as error:
            raise CameraError(f"{self._web.place} gives no pictures: {error}") from None
        self.seen_at = time.monotonic()
        self.is_same = not self._data
        return True

    def retrieve(self) -> Image | Jpeg:
        if self._data.startswith(b"\xff\xd8"):
            return Jpeg(self._data)
        try:
            image = cv2.imdecode(np.frombuffer(self._data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise ValueError(" ".join(str(error).split())) from None
        if image is None:
            raise ValueError("no picture")
        return to_bgr(image)

    def release(self) -> None:
        self._web.close()

    def cancel(self) -> None:
        self._web.cancel()

    def _read(self) -> Iterator[bytes]:
        """What the camera gives; b"" where that is as before."""
        given = False
        for picture in Parts(self._more, _boundary(self._answer)):
            yield picture
            given = True
        if not given and not self._web.cancelled.is_set():
            raise NoPictureError("its stream ends without one")

    def _more(self) -> bytes:
        try:
            return self._answer.read1(_CHUNK_BYTES)
        except (OSError, HTTPException, ValueError):  # ValueError: closed by cancel()
            return b""


class PolledCapture(HttpCapture):
    """A camera that gives one picture an answer: asked every `seconds`, and only for what is new where it can tell."""

    def __init__(self, web: Web, answer: HTTPResponse, *, seconds: float) -> None:
        super().__init__(web, answer)
        self._seconds = seconds
        self.gives_stills = seconds >= STILL_SECONDS

    def _read(self) -> Iterator[bytes]:
        asked_at = time.monotonic()
        picture, last = b"", b""
        known: dict[str, str] = {}
        while True:
            if self._answer.status != 304:
                picture = self._whole()
                names = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
                known = {ask: value for ask, name in names.items() if (value := self._answer.headers.get(name))}
            due_at = asked_at + self._seconds
            self.rest_seconds = max(0.0, due_at - time.monotonic())
            yield picture if picture != last else b""
            last = picture
            if self._web.cancelled.wait(max(0.0, due_at - time.monotonic())):
                return
            asked_at = time.monotonic()
            self._answer = self._web.get(known)

    def _whole(self) -> bytes:
        answer = self._answer
        if answer.status != 200 or "html" in content_type(answer):
            raise self._web.complaint(answer)
        try:
            if answer.length is None and not answer.chunked and "jp" in content_type(answer):
                # It may never end: some call a stream so.
                picture = next(iter(Parts(self._more)), b"")
            else:
                picture = answer.read(MAX_PICTURE_BYTES)
        except IncompleteRead as error:
            picture = error.partial
        except (OSError, HTTPException) as error:
            raise self._web.no_answer(error) from error
        if not picture:
            raise NoPictureError("its answer has none")
        if len(picture) == MAX_PICTURE_BYTES:
            raise NoPictureError(f"its picture has {MAX_PICTURE_BYTES >> 20} MiB or more")
        return picture


def open_http(url: str, *, opening_seconds: float, timeout: float, snapshot_seconds: float) -> HttpCapture | str:
    """The camera, opened, or the content type of something that FFmpeg may read. Raises CameraError."""
    web = Web(url, seconds=opening_seconds)
    deadline = threading.Timer(opening_seconds, web.cancel)
    deadline.daemon = True
    deadline.start()
    capture: HttpCapture | None = None
    try:
        answer = web.get()
        kind = _kind(web, answer)
        if kind == "parts":
            capture = HttpCapture(web, answer)
        elif kind == "picture":
            capture = PolledCapture(web, answer, seconds=snapshot_seconds)
        web.wait_no_longer_than(timeout)
    finally:
        deadline.cancel()
        if capture is None:
            web.close()
    return capture or content_type(answer) or "no content type"


def _kind(web: Web, answer: HTTPResponse) -> str:
    """Whether an answer has "parts", a "picture", or something else."""
    kind = content_type(answer)
    if answer.status != 200:
        raise web.complaint(answer)
    if kind.startswith("multipart/"):
        return "parts"
    try:
        begin = answer.peek(_PEEKED_BYTES)[:_PEEKED_BYTES] if answer.length != 0 else b""
    except (OSError, HTTPException) as error:
        raise web.no_answer(error) from error
    if not begin:
        raise CameraError(
            f"{web.place} answers 200 OK with {kind or 'no content type'} and nothing in it: is the path right?"
        )
    if _MULTIPART.match(begin) or re.search("motion-jpe?g|mjpe?g", kind):
        return "parts"
    if begin.startswith(b"\xff\xd8\xff") or (kind.startswith("image/") and kind != "image/svg+xml"):
        return "picture"
    is_text = kind.startswith(("text/", "image/")) or kind.endswith(("json", "xml", "javascript"))
    if is_text and not begin.lstrip().startswith(b"#EXTM3U"):  # a playlist of HLS
        raise web.complaint(answer)
    return "other"


def _boundary(answer: HTTPResponse) -> str:
    named = re.search(r'(?i)boundary\s*=\s*("[^"]*"|[^;\s]+)', answer.headers.get("Content-Type") or "")
    return named[1] if named else ""

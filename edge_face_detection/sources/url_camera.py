"""A camera behind a URL: over RTSP, and over HTTP where our own reader is not enough, it is read by FFmpeg."""

from __future__ import annotations

import os
import re
import socket
import time

from edge_face_detection.opencv import USERS_FFMPEG_OPTIONS, cv2
from edge_face_detection.sources.address import Address, shown_place
from edge_face_detection.sources.camera import CameraError, Capture, LiveCapture, leave_jpegs_to_us, size_complaint
from edge_face_detection.sources.http_capture import open_http
from edge_face_detection.sources.web import remedy_for, shown_status

# What connecting, and an HTTP answer, may take.
URL_TIMEOUT_SECONDS = 8.0
# What FFmpeg gets to look into a stream. At a frame in six seconds it needs twelve.
LOOK_SECONDS = 18.0
# What an RTSP server gets to say why it gives no video.
ANSWER_SECONDS = 3.0
# A transport that failed so soon leaves time to try the other one.
QUICK_SECONDS = 5.0
# FFmpeg's options for RTP over each transport. `prefer_tcp`: after TCP it tries UDP if the server has no TCP (461).
_TCP_FIRST, _TCP, _UDP = ("rtsp_flags", "prefer_tcp"), ("rtsp_transport", "tcp"), ("rtsp_transport", "udp")
_WAYS = {"auto": [_TCP_FIRST, _UDP], "tcp": [_TCP], "udp": [_UDP]}
_USERS_PAIRS = (pair.partition(";") for pair in USERS_FFMPEG_OPTIONS.split("|"))
_USERS_OPTIONS = {key: value for key, _, value in _USERS_PAIRS if key}
# FFmpeg gives a frame of these when it sees the next one begin, so a frame late. The numbers are MPEG-TS's.
_ENDED_BY_THE_NEXT = {b"h264", b"hevc", b"\x1b\0\0\0", b"\x24\0\0\0"}


class UrlCamera:
    """A stream or picture behind an rtsp, rtsps, http or https URL. Raises SourceError for a URL that cannot be one.

    Reading ends after `timeout` seconds without any data; 0 for never. A URL that gives one picture an answer is asked
    every `snapshot_seconds`.
    """

    def __init__(
        self, url: str, *, timeout: float = 10.0, transport: str = "auto", snapshot_seconds: float = 1.0
    ) -> None:
        self._address = Address.parse(url)
        self.description, self.doubt = self._address.description, self._address.doubt
        self._place = shown_place(self._address.host, self._address.port)
        self._timeout = timeout
        self._snapshot_seconds = snapshot_seconds
        # The first one is tried first: it worked last time, or the other one failed.
        self._ways = list(_WAYS[transport])
        if transport == "auto" and (chosen := _USERS_OPTIONS.get("rtsp_transport")):
            self._ways = [("rtsp_transport", chosen)]

    def open(self) -> LiveCapture:
        try:
            return self._open()
        except CameraError as error:
            if not self.doubt:
                raise
            raise CameraError(f"{error} About its URL: {self.doubt}", retry_after=error.retry_after) from error

    def _open(self) -> LiveCapture:
        if self._address.scheme.startswith("http"):
            opened = open_http(
                self._address.url,
                opening_seconds=URL_TIMEOUT_SECONDS,
                timeout=self._timeout,
                snapshot_seconds=self._snapshot_seconds,
            )
            if not isinstance(opened, str):
                return opened
            if (capture := self._look(*self._ways[0])) is None:
                raise CameraError(
                    f"{self._place} answers with {opened}, in which there is no video: is the path right?"
                )
            return capture
        tried: list[str] = []
        for way in list(self._ways):
            began = time.monotonic()
            if (capture := self._look(*way)) is not None:
                return capture
            # The next opening begins with the other one.
            self._ways = [*self._ways[1:], way]
            tried.append("TCP" if way == _TCP_FIRST else way[1].upper())
            is_quick = time.monotonic() - began < QUICK_SECONDS
            wants_login = self._check_server() == 401
            # A camera may lock a user out after some wrong passwords: no second try at once.
            if wants_login or not is_quick:
                break
        question = "are path, user and password right"
        if len(self._ways) == 1:
            question += ", and has it this transport (RTSP_TRANSPORT=auto tries TCP, then UDP)"
        raise CameraError(f"{self._place} is there but gives no video over {' or '.join(tried)}: {question}?")

    def _check_server(self) -> int:
        """The status of an RTSP answer, 0 if there is none; OpenCV does not pass on FFmpeg's reasons.

        Raises CameraError if that is why there is no video.
        """
        address = self._address
        try:
            with socket.create_connection((address.host, address.port), timeout=URL_TIMEOUT_SECONDS) as server:
                if address.scheme != "rtsp":
                    return 0
                url = re.sub("//[^/?]*@", "//", address.url)
                server.settimeout(ANSWER_SECONDS)
                server.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode())
                try:
                    begin = server.recv(100)
                except OSError:
                    return 0
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
            raise CameraError(
                f"cannot reach {self._place} ({error}): is the camera on, and are host and port right?"
            ) from error
        answer = re.match(rb"RTSP/1\.\d ([3-5]\d\d)\b", begin)
        status = int(answer[1]) if answer else 0
        has_user = "@" in address.url
        # Nobody has logged in here, so a 401 says nothing of a user.
        if status and not (status == 401 and has_user):
            remedy = remedy_for(status, has_user=has_user).replace("http:", "rtsp:")
            raise CameraError(f"{self._place} answers {shown_status(status)}: {remedy}")
        return status

    def _look(self, option: str, value: str) -> Capture | None:
        # We do not need the rate, for which FFmpeg would look at twenty frames. Cameras are near: no proxy.
        options = {"fpsprobesize": "0", "http_proxy": "none"} | _USERS_OPTIONS
        if option == "rtsp_flags" and option in options:
            value = f"{options[option]}+{value}"
        # OpenCV reads the variable at each opening, and has no other way to tell FFmpeg of the transport.
        text = "|".join(f"{key};{text}" for key, text in (options | {option: value}).items())
        if os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS") != text:
            os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = text
        began = time.monotonic()
        video = cv2.VideoCapture(
            self._address.url,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                round(LOOK_SECONDS * 1000),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                round(self._timeout * 1000),
                # Each thread more would make the picture older by a frame.
                cv2.CAP_PROP_N_THREADS,
                1,
            ],
        )
        if not video.isOpened():
            return None
        if complaint := size_complaint(video):
            video.release()
            raise CameraError(f"{complaint}: choose a smaller resolution at the camera")
        return _Stream(video, looked_seconds=time.monotonic() - began)


class _Stream(Capture):
    """A live stream that FFmpeg reads, which gives first what came while it looked into the stream."""

    def __init__(self, video: cv2.VideoCapture, *, looked_seconds: float) -> None:
        code = int(video.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        self._is_a_frame_late = code.to_bytes(4, "little") in _ENDED_BY_THE_NEXT
        rate = video.get(cv2.CAP_PROP_FPS)
        # A wait as long as half a frame means that the frame was not there yet.
        self._wait_seconds = min(max(0.5 / rate if rate > 0 else 0.0, 0.005), 0.5)
        # A recording that a server gives has a length, and is not waited for.
        is_live = video.get(cv2.CAP_PROP_FRAME_COUNT) <= 0
        self._old_until = time.monotonic() + looked_seconds + 1.0 if is_live else 0.0
        super().__init__(video, is_raw=leave_jpegs_to_us(video))

    def grab(self) -> bool:
        while True:
            asked_at, worked = time.monotonic(), time.thread_time()
            if not super().grab():
                return False
            waited = self.seen_at - asked_at - (time.thread_time() - worked)
            if self._is_a_frame_late:
                self.seen_at = asked_at
            if waited >= self._wait_seconds or asked_at >= self._old_until:
                self._old_until = 0.0
                return True

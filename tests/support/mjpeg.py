"""A camera such as cheap network cameras are: HTTP, JPEG after JPEG without an end."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_face_detection.sources.frame import Frame

# The grey of picture n is n times this, far enough apart to survive JPEG; it begins again after GREYS pictures.
GREY_STEP = 4
GREYS = 64


def jpeg(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


def greys(width: int = 64, height: int = 48) -> list[bytes]:
    """JPEGs that can be told apart, see `number_shown`."""
    return [jpeg(np.full((height, width, 3), grey * GREY_STEP, np.uint8)) for grey in range(GREYS)]


def number_shown(frame: Frame) -> int:
    return round(float(frame.image.mean()) / GREY_STEP)


class MjpegServer:
    """Serves `url` on loopback, 100 pictures a second, until `kill()`."""

    def __init__(self, port: int = 0) -> None:
        #: Pictures sent, and the times at which clients came (`time.monotonic()`).
        self.sent = 0
        self.came: list[float] = []
        #: Sends nothing meanwhile.
        self.silent = False
        #: Whether it has no picture for who comes now.
        self.refuses = False
        #: Whether who comes now gets no answer.
        self.mute = False
        #: Who comes now gets so many pictures and no more.
        self.falls_silent_after: int | None = None
        self._clients: set[socket.socket] = set()
        self._ended = threading.Event()
        self.show(greys())
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                refuses, enough = outer.refuses, outer.falls_silent_after
                outer.came.append(time.monotonic())
                outer._clients.add(self.connection)
                try:
                    if outer.mute:
                        outer._ended.wait()
                    self.send_response(503 if refuses else 200)
                    self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                    self.end_headers()
                    if not refuses:
                        outer._send_to(self, enough)
                except OSError:
                    pass  # the client has gone
                finally:
                    outer._clients.discard(self.connection)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the base
                """Nothing: the tests' output is to be read."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/stream"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def clients(self) -> int:
        """How many have not closed the connection."""
        return len(self._clients)

    def show(self, pictures: Iterable[bytes]) -> None:
        """Send these from now on, over and over."""
        self._pictures: Iterator[bytes] = itertools.cycle(pictures)

    def kill(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _send_to(self, client: BaseHTTPRequestHandler, enough: int | None) -> None:
        for count in itertools.count():
            while not self._ended.wait(0.01) and (self.silent or count == enough):
                if _has_gone(client.connection):
                    return
            if self._ended.is_set():
                return
            picture = next(self._pictures)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            client.wfile.write(head.encode() + picture + b"\r\n")
            self.sent += 1


def _has_gone(client: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        return client.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
    return False

"""Cameras, and a detector's source that is watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
import pytest

from edge_face_detection.sources.frame import Frame
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.open_source import open_source
from face_messages.service.backoff import Backoff
from tests.camera.usb_camera import VHCI, Pictures, UsbCamera
from tests.support.waiting import eventually

STALL_SECONDS = 2.0
SIZES = [(640, 480), (1280, 720)]
# Far enough apart to be told from each other after JPEG.
GREYS = range(40, 240, 20)


class Watched:
    """A source, and what it has given."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.frames: list[Frame] = []
        self._thread = threading.Thread(target=self._watch, name="watch")
        self._thread.start()

    def next_frame(self, *, within: float = 20) -> Frame:
        """The next one that comes."""
        count = len(self.frames)
        eventually(lambda: len(self.frames) > count, within=within, what=lambda: f"no frame: {self.source.trouble}")
        return self.frames[count]

    def close(self) -> None:
        self.source.close()
        self._thread.join(10)
        assert not self._thread.is_alive(), "frames() goes on after close()"

    def _watch(self) -> None:
        self.frames.extend(self.source.frames())


Watch = Callable[..., Watched]
MakeCamera = Callable[..., UsbCamera]


@pytest.fixture(scope="session", autouse=True)
def machine() -> None:
    if not (VHCI / "attach").exists():
        pytest.fail("these tests need drivers that few machines have: make test-camera makes one", pytrace=False)


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "scale", 0.1)


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    """JPEGs of each size, each grey in grey."""
    return {
        (width, height): [
            cv2.imencode(".jpg", np.full((height, width, 3), grey, np.uint8))[1].tobytes() for grey in GREYS
        ]
        for width, height in SIZES
    }


@pytest.fixture
def make_camera(pictures: Pictures) -> Iterator[MakeCamera]:
    """Makes USB cameras, which are unplugged with the test's end; not plugged in yet."""
    with ExitStack() as stack:

        def make(pictures: Pictures = pictures, *, rates: Sequence[int] = (30, 15)) -> UsbCamera:
            camera = UsbCamera(pictures, rates=rates)
            stack.callback(camera.unplug)
            return camera

        yield make


@pytest.fixture
def camera(make_camera: MakeCamera) -> UsbCamera:
    """A USB camera, plugged in."""
    camera = make_camera()
    camera.plug_in()
    return camera


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Reads a source in a thread until the test's end; arguments as for `open_source`."""
    with ExitStack() as stack:

        def start(video_source: object, *, stall_seconds: float = STALL_SECONDS, **options: Any) -> Watched:
            source = open_source(str(video_source), realtime=True, loop=False, stall_seconds=stall_seconds, **options)
            assert isinstance(source, LiveSource)
            watched = Watched(source)
            stack.callback(watched.close)
            return watched

        yield start

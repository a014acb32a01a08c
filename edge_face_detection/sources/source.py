"""What cameras and recordings have in common."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

from edge_face_detection.sources.frame import Frame


class Source(ABC):
    """Frames, for one consumer."""

    #: Whether it is a camera, which has no end.
    live = False
    #: False when only the program's restart may bring it back; `frames()` then raises SourceError.
    is_well = True

    def __init__(self, description: str) -> None:
        #: What it is, for logs: without credentials.
        self.description = description
        #: Frames that came, including the skipped ones.
        self.frames_read = 0
        #: Frames never given: a newer one took their place, or they could not be decoded.
        self.frames_skipped = 0
        #: Those of the skipped ones that could not be decoded.
        self.frames_unreadable = 0
        #: How often it came back after it was lost.
        self.reconnects = 0
        #: How often it was lost because it gave nothing new, or its driver did not return.
        self.stalls = 0
        #: Whether it was told to `pause()`.
        self.paused = False
        self._is_running = False
        self._closed = threading.Event()

    @property
    def is_up(self) -> bool:
        """Whether frames are coming."""
        return self._is_running and not self.paused

    @property
    def state(self) -> Literal["up", "down", "paused"]:
        return "paused" if self.paused else "up" if self.is_up else "down"

    @property
    def trouble(self) -> str | None:
        """Why frames are not coming; None when that is as it should be."""
        return None

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames until a recording's end or `close()`; waits while a camera is away or while paused."""

    def pause(self) -> None:
        """Let the camera go within a second, from whichever thread; a recording stops where it is."""
        self.paused = True

    def resume(self) -> None:
        """Take the camera up again, from whichever thread; a recording goes on where it was."""
        self.paused = False

    def close(self) -> None:
        """End `frames()` within a second, from whichever thread."""
        self._closed.set()

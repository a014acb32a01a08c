"""Where frames come from: `open_source` makes a `Source` of what `VIDEO_SOURCE` says."""

import logging
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from edge_face_detection.sources.address import is_address
from edge_face_detection.sources.camera import DeviceCamera, UrlCamera
from edge_face_detection.sources.frame import Frame
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.recorded import RecordedSource, open_recording, unusable

__all__ = ["Source", "open_source", "state_of"]

_log = logging.getLogger(__name__)


class Source(Protocol):
    """Frames, for one consumer."""

    @property
    def live(self) -> bool:
        """Whether it is a camera, which has no end."""

    @property
    def frames_read(self) -> int:
        """Frames that came, including the skipped ones."""

    @property
    def frames_skipped(self) -> int:
        """Frames never given: a newer one took their place, or they could not be decoded."""

    @property
    def frames_unreadable(self) -> int:
        """Those of the skipped ones that could not be decoded."""

    @property
    def reconnects(self) -> int:
        """How often it came back after it was lost."""

    @property
    def stalls(self) -> int:
        """How often it was lost because it gave nothing new, or its driver did not return."""

    @property
    def is_up(self) -> bool:
        """Whether frames are coming."""

    @property
    def paused(self) -> bool:
        """Whether it was told to `pause()`."""

    @property
    def trouble(self) -> str | None:
        """Why frames are not coming; None when that is as it should be."""

    @property
    def is_well(self) -> bool:
        """False when only the program's restart may bring it back; `frames()` then raises SourceError."""

    @property
    def description(self) -> str:
        """What it is, for logs: without credentials."""

    def frames(self) -> Iterator[Frame]:
        """The frames until a recording's end or `close()`; waits while a camera is away or while paused."""

    def pause(self) -> None:
        """Let the camera go within a second, from whichever thread; a recording stops where it is."""

    def resume(self) -> None:
        """Take the camera up again, from whichever thread; a recording goes on where it was."""

    def close(self) -> None:
        """End `frames()` within a second, from whichever thread."""


def state_of(source: Source) -> Literal["up", "down", "paused"]:
    return "paused" if source.paused else "up" if source.is_up else "down"


def open_source(
    video_source: str,
    *,
    realtime: bool,
    loop: bool,
    size: tuple[int, int] = (640, 480),
    rate: float = 30.0,
    stall_seconds: float = 10.0,
) -> Source:
    """The source named: a camera's number or device, a URL, a video file, a picture, or a folder of pictures.

    `realtime` and `loop` are for recordings, see RecordedSource; `size` and `rate` for devices, see DeviceCamera;
    `stall_seconds` for all cameras, see LiveSource.
    A camera need not be there yet. Raises SourceError for what cannot be used and never will be.
    """
    if re.fullmatch(r"[0-9]{1,4}", video_source):
        video_source = f"/dev/video{int(video_source)}"
    if is_address(video_source):
        # A second more, so that a stall is known as one.
        camera = UrlCamera(video_source, timeout=stall_seconds and stall_seconds + 1)
        if camera.doubt:
            _log.warning("the URL of the camera may be cut off: %s", camera.doubt)
        return LiveSource(camera, stall_seconds=stall_seconds)
    path = Path(video_source)
    try:
        mode = path.stat().st_mode if video_source else 0
    except (FileNotFoundError, ValueError):  # ValueError: a zero byte in the name
        mode = 0
    except OSError as error:
        raise unusable(path, f"cannot be read ({error.strerror})") from None
    if stat.S_ISCHR(mode) or (mode == 0 and path.is_relative_to("/dev") and video_source.isprintable()):
        return LiveSource(DeviceCamera(video_source, size=size, rate=rate), stall_seconds=stall_seconds)
    return RecordedSource(open_recording(path, mode), realtime=realtime, loop=loop)

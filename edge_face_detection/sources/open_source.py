"""Where frames come from: `open_source` makes a `Source` of what `VIDEO_SOURCE` says."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from edge_face_detection.sources.camera import DeviceCamera, UrlCamera
from edge_face_detection.sources.frame import Frame, SourceError
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.recorded import Pictures, RecordedSource, VideoFile

__all__ = ["Source", "open_source"]

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})


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
    # With a slash forgotten it is no file either, and its password must not appear as part of a file's name.
    if re.match(r"(?i)[a-z][a-z0-9+.-]*://|(rtsp|http)s?:", video_source):
        # A second more, so that a stall is known as one.
        return LiveSource(
            UrlCamera(video_source, timeout=stall_seconds and stall_seconds + 1), stall_seconds=stall_seconds
        )
    if not video_source or not video_source.isprintable():
        raise SourceError(f"no video source: {video_source!r} is empty or has control characters in it")
    path = Path(video_source)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    if stat.S_ISCHR(mode) or (mode == 0 and path.is_relative_to("/dev")):
        return LiveSource(DeviceCamera(video_source, size=size, rate=rate), stall_seconds=stall_seconds)
    return RecordedSource(_recording(path, mode), realtime=realtime, loop=loop)


def _recording(path: Path, mode: int) -> Pictures | VideoFile:
    try:
        if stat.S_ISDIR(mode):
            return Pictures(str(path), _pictures_in(path))
        if stat.S_ISREG(mode):
            path.open("rb").close()  # for the reason, which FFmpeg does not tell
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        what = "is neither a file, a folder nor a camera" if mode else "does not exist"
        raise SourceError(
            f"{path} {what}: give a camera's number (0), a device (/dev/video0), a video file,"
            " a folder of pictures, or an rtsp://, rtsps://, http:// or https:// URL"
        )
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return Pictures(str(path), [path])
    return VideoFile(path)


def _pictures_in(folder: Path) -> list[Path]:
    paths = [
        path
        for path in folder.iterdir()
        # Hidden files in such a folder are a file manager's leavings.
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(paths, key=_natural_order)


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Numbers in names count as numbers: 2.png comes before 10.png."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", path.name.lower())
    return [(int(number or 0), text) for number, text in parts], path.name

"""Where frames come from: `open_source` makes a `Source` of what `VIDEO_SOURCE` says."""

import contextlib
import logging
import re
import stat
from pathlib import Path

from edge_face_detection.sources.address import URL_SCHEMES, is_address, may_hold_secret, shown_path
from edge_face_detection.sources.device_camera import DeviceCamera
from edge_face_detection.sources.frame import SourceError
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.picture_files import Pictures, is_picture_name, picture_kind
from edge_face_detection.sources.recorded import RecordedSource, Recording
from edge_face_detection.sources.source import Source
from edge_face_detection.sources.url_camera import UrlCamera
from edge_face_detection.sources.video_file import VideoFile

_log = logging.getLogger(__name__)


def open_source(
    video_source: str,
    *,
    realtime: bool,
    loop: bool,
    size: tuple[int, int] = (640, 480),
    rate: float = 30.0,
    stall_seconds: float = 10.0,
    transport: str = "auto",
    snapshot_seconds: float = 1.0,
) -> Source:
    """The source named: a camera's number or device, a URL, a video file, a picture, or a folder of pictures.

    `realtime` and `loop` are for recordings, see RecordedSource; `size` and `rate` for devices, see DeviceCamera;
    `stall_seconds` for all cameras, see LiveSource; `transport` and `snapshot_seconds` for URLs, see UrlCamera.
    A camera need not be there yet. Raises SourceError for what cannot be used and never will be.
    """
    if re.fullmatch(r"[0-9]{1,4}", video_source):
        video_source = f"/dev/video{int(video_source)}"
    if is_address(video_source):
        # A second more, so that a stall is known as one.
        camera = UrlCamera(
            video_source,
            timeout=stall_seconds and stall_seconds + 1,
            transport=transport,
            snapshot_seconds=snapshot_seconds,
        )
        if camera.doubt:
            _log.warning("the URL of the camera may be cut off: %s", camera.doubt)
        return LiveSource(camera, stall_seconds=stall_seconds)
    path, mode = Path(video_source), 0
    try:
        with contextlib.suppress(FileNotFoundError, ValueError):  # ValueError: a zero byte in the name
            mode = path.stat().st_mode if video_source else 0
        if stat.S_ISCHR(mode) or (mode == 0 and path.is_relative_to("/dev") and video_source.isprintable()):
            return LiveSource(DeviceCamera(video_source, size=size, rate=rate), stall_seconds=stall_seconds)
        if stat.S_ISDIR(mode):
            recording: Recording = Pictures.of_folder(path)
        elif stat.S_ISREG(mode):
            path.open("rb").close()  # for the reason, which FFmpeg does not tell
            # FFmpeg shows all pictures of a GIF.
            is_picture = path.suffix.lower() != ".gif" and (is_picture_name(path) or picture_kind(path) is not None)
            recording = Pictures(path, [path]) if is_picture else VideoFile(path)
        else:
            raise _unusable(path, "is neither a file, a folder nor a camera" if mode else "does not exist")
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from None
    return RecordedSource(recording, realtime=realtime, loop=loop)


def _unusable(path: Path, reason: str) -> SourceError:
    """The error for a path that cannot be used. It may be a URL that was cut: then it is not shown."""
    secret = may_hold_secret(str(path))
    shown = "what VIDEO_SOURCE names (not shown here, it may hold a password)" if secret else shown_path(path)
    remedy = ". In a URL, write special characters percent-encoded: # is %23" if secret else ""
    return SourceError(
        f"{shown} {reason}: give a camera's number (0), a device (/dev/video0), a video file, a folder of pictures, or"
        f" a URL that begins with {', '.join(f'{scheme}://' for scheme in URL_SCHEMES)}{remedy}"
    )

"""Where frames come from: `open_source` makes a `Source` of what `VIDEO_SOURCE` says."""

import logging
import re
import stat
from pathlib import Path

from edge_face_detection.sources.address import is_address
from edge_face_detection.sources.device_camera import DeviceCamera
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.recorded import RecordedSource, open_recording, unusable
from edge_face_detection.sources.source import Source
from edge_face_detection.sources.url_camera import UrlCamera

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

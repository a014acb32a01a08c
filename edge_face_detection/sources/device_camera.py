"""A camera on this machine: a Video4Linux device, and what the kernel knows of one that cannot be opened."""

import logging
import os
import stat
from pathlib import Path

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.camera import MJPG, CameraError, Capture

VIDEO4LINUX_MAJOR = 81  # Linux, Documentation/admin-guide/devices.txt
# We show one while the camera fills the other. More of them would make the picture older.
BUFFERS = 2
SYSFS = Path("/sys")
BY_ID = Path("/dev/v4l/by-id")
# Boards whose cameras give raw Bayer pictures to a signal processor: NVIDIA's, Raspberry's, Rockchip's, NXP's.
_RAW = ("tegra", "vi-output", "unicam", "rp1-cfe", "rkisp", "rkcif", "mxc", "csi")

_log = logging.getLogger(__name__)


class DeviceCamera:
    """A Video4Linux device such as `/dev/video0` or a link to it in `/dev/v4l/by-id/`, looked up at each opening.

    It is asked for Motion-JPEG of this size (width and height in pixels) and rate (frames a second), and may choose
    otherwise.
    """

    def __init__(self, path: str, *, size: tuple[int, int] = (640, 480), rate: float = 30.0) -> None:
        self.description = path
        self._size = size
        self._rate = rate
        self._told = ""

    def open(self) -> Capture:
        path = self.description
        # OpenCV says nothing but "not opened", so what a person can mend is looked for first.
        try:
            status = Path(path).stat()
        except FileNotFoundError:
            raise CameraError(
                f"no such camera {path}: is it plugged in, and given to the container? See ls /dev/video*"
            ) from None
        except OSError as error:
            raise CameraError(f"cannot look at {path}: {error.strerror}") from None
        if not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) != VIDEO4LINUX_MAJOR:
            raise CameraError(f"{path} is no camera: choose one of ls /dev/video*")
        if not os.access(path, os.R_OK | os.W_OK):
            raise CameraError(f"no permission to use {path}: add the user to the group video")
        capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
        # Each of these may be refused. The format comes first, since most cameras are fast and large in JPEG only.
        for name, value in (
            (cv2.CAP_PROP_FOURCC, MJPG),
            (cv2.CAP_PROP_FRAME_WIDTH, self._size[0]),
            (cv2.CAP_PROP_FRAME_HEIGHT, self._size[1]),
            (cv2.CAP_PROP_FPS, self._rate),
            (cv2.CAP_PROP_BUFFERSIZE, BUFFERS),
        ):
            capture.set(name, value)
        if not capture.isOpened():
            raise CameraError(why_not_opened(path, status.st_rdev))
        self._tell_of_choice(capture)
        is_jpeg = capture.get(cv2.CAP_PROP_FOURCC) == MJPG
        return Capture(capture, is_raw=is_jpeg and capture.set(cv2.CAP_PROP_CONVERT_RGB, 0))

    def _tell_of_choice(self, capture: cv2.VideoCapture) -> None:
        """Say what the camera gives instead of what it was asked for, when that is news."""
        width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        rate, fourcc = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FOURCC))
        is_as_asked = (width, height, fourcc) == (*self._size, MJPG) and abs(rate - self._rate) < 1
        code = (fourcc & 0xFFFFFFFF).to_bytes(4, "little").decode("ascii", "replace")
        gives = "" if is_as_asked else f"{code} {width}x{height} at {rate:g}"
        if gives != self._told:
            asked = f"MJPG {self._size[0]}x{self._size[1]} at {self._rate:g}"
            _log.info("Camera %s: asked for %s, gives %s frames/s", self.description, asked, gives or asked)
            self._told = gives


def why_not_opened(path: str, number: int) -> str:
    """Why OpenCV cannot open a Video4Linux device (`number` is its `st_rdev`), and what to do."""
    folder = SYSFS / "dev/char" / f"{os.major(number)}:{os.minor(number)}"
    name = _read(folder / "name")
    driver = (folder / "device/driver").resolve().name
    if _bus(folder) == "platform" and any(word in f"{name} {driver}".lower() for word in _RAW):
        return (
            f"{path} is the board's own camera ({name}), whose raw pictures cannot be read here:"
            f" plug a USB camera in and name that{_usb_cameras()}"
        )
    if _bus(folder) == "usb" and _read(folder / "index") not in ("", "0"):
        return f"{path} belongs to the camera {name} but gives no pictures: name another of its devices{_usb_cameras()}"
    return (
        f"{path} cannot be opened: is another program using it (fuser -v {path})? A camera may have"
        f" several devices of which one gives pictures: try the others of ls /dev/video*{_usb_cameras()}"
    )


def _usb_cameras() -> str:
    """The USB cameras that are plugged in, by names that stay the same."""
    found = sorted(str(link) for link in BY_ID.glob("usb-*-index0"))
    if not found:  # such as in a container, which has no such links
        folders = sorted((SYSFS / "class/video4linux").glob("video*"))
        found = [f"/dev/{each.name}" for each in folders if _bus(each) == "usb" and _read(each / "index") == "0"]
    return f"; USB cameras here: {', '.join(found)}" if found else ""


def _bus(folder: Path) -> str:
    return (folder / "device/subsystem").resolve().name


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""

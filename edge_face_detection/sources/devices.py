"""What the kernel knows of a camera on this machine: its name, its bus, and the cameras beside it."""

import os
from pathlib import Path

SYSFS = Path("/sys")
BY_ID = Path("/dev/v4l/by-id")
# Boards whose cameras give raw Bayer pictures to a signal processor: NVIDIA's, Raspberry's, Rockchip's, NXP's.
_RAW = ("tegra", "vi-output", "unicam", "rp1-cfe", "rkisp", "rkcif", "mxc", "csi")


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

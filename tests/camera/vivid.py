"""The kernel's virtual camera `vivid`: it gives raw formats, and fails in the ways it is told to.

See Linux, Documentation/admin-guide/media/vivid.rst.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

# Of linux/videodev2.h.
VIDIOC_S_CTRL, VIDIOC_QUERYCTRL = 0xC008561C, 0xC0445624
NEXT_CTRL = 0x80000000


def device() -> Path:
    """Its device, such as `/dev/video0`."""
    names = Path("/sys/class/video4linux").glob("video*/name")
    return Path("/dev", next(name.parent.name for name in names if name.read_text() == "vivid-000-vid-cap\n"))


def set_control(name: str, value: int = 1) -> None:
    """Set one of its controls, such as "Percentage of Dropped Buffers"; a button is pressed."""
    file = os.open(device(), os.O_RDWR)
    try:
        query = bytearray(68)
        while query[8:40].rstrip(b"\0").decode() != name:  # an OSError after the last one
            struct.pack_into("I", query, 0, struct.unpack_from("I", query)[0] | NEXT_CTRL)
            fcntl.ioctl(file, VIDIOC_QUERYCTRL, query)
        fcntl.ioctl(file, VIDIOC_S_CTRL, struct.pack("Ii", struct.unpack_from("I", query)[0], value))
    finally:
        os.close(file)

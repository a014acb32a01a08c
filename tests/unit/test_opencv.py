"""OpenCV as the program sets it up, in a process of its own each, since it is set up once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("asked", "threads"), [(None, 1), ("3", 3)])
def test_opencv_takes_one_thread_unless_told_otherwise(asked: str | None, threads: int) -> None:
    env = {name: value for name, value in os.environ.items() if name != "OPENCV_FOR_THREADS_NUM"}
    if asked is not None:
        env["OPENCV_FOR_THREADS_NUM"] = asked
    code = "from edge_face_detection.opencv import cv2; print(cv2.getNumThreads())"
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert int(told.stdout) == threads

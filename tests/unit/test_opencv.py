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


def test_the_program_is_loaded_without_threads() -> None:
    """Numpy's library for matrices would start one for each CPU, and each would spin at first."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "OMP_"))}
    code = "import edge_face_detection.program, os; print(len(os.listdir('/proc/self/task')))"
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert int(told.stdout) == 1

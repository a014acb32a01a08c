"""`python -m benchmarks.detecting METHOD THREADS CLIP`: looks for faces in a clip, and prints what that took, as JSON.

A process of its own for each measurement: OpenCV's threads and caches are the process's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge_face_detection.cutter import FaceCutter
from edge_face_detection.detector import Finder
from edge_face_detection.haar import HaarFinder
from edge_face_detection.opencv import cv2
from edge_face_detection.sources import open_source
from edge_face_detection.tracker import Tracker
from edge_face_detection.yunet import YuNetFinder

#: Frames and faces.
Counts = tuple[int, int]


def decode(clip: str) -> Counts:
    """What any method must do at least."""
    capture, frames = cv2.VideoCapture(clip), 0
    while capture.read()[0]:
        frames += 1
    return frames, 0


def naive(clip: str) -> Counts:
    """What nearly every example on the web does."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"))
    capture, frames, faces = cv2.VideoCapture(clip), 0, 0
    while True:
        there, image = capture.read()
        if not there:
            return frames, faces
        frames += 1
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        for x, y, width, height in cascade.detectMultiScale(grey, 1.3, 5):
            cv2.imencode(".png", image[y : y + height, x : x + width])[1].tobytes()
            faces += 1


def haar(clip: str) -> Counts:
    """What edge_face_detection does, as it is set by default."""
    return _ours(HaarFinder(), clip)


def yunet(clip: str) -> Counts:
    """What it does with DETECTOR=yunet and its model in YUNET_MODEL."""
    return _ours(YuNetFinder(Path(os.environ["YUNET_MODEL"])), clip)


def _ours(finder: Finder, clip: str) -> Counts:
    cutter = FaceCutter(Tracker(finder), edge_id="benchmark", camera_id="camera", margin=0.1)
    frames = faces = 0
    for frame in open_source(clip, realtime=False, loop=False).frames():
        frames += 1
        faces += len(cutter.faces_in(frame))
    return frames, faces


METHODS: dict[str, Callable[[str], Counts]] = {"decode": decode, "naive": naive, "haar": haar, "yunet": yunet}


def main() -> None:
    method, threads, clip = sys.argv[1:]
    if int(threads):
        cv2.setNumThreads(int(threads))
    began, cpu = time.perf_counter(), time.process_time()
    frames, faces = METHODS[method](clip)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"frames": frames, "faces": faces, "seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    main()

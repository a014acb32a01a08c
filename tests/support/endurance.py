"""`python -m tests.support.endurance FRAMES`: a detector's day in small frames; prints its memory on the way."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import cv2

from edge_face_detection.faces.haar import HaarFinder
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.pictures.cutter import FaceCutter
from edge_face_detection.sources.frame import Frame, Image, Jpeg, UnreadableFrameError
from tests.support.scenes import scene

_SIZES = [(160, 120), (160, 120), (160, 120), (120, 160), (176, 144), (1, 1)]
_STEPS = 10


def _pictures() -> list[tuple[Image, bytes]]:
    """One and two faces, here and there, and none; each also as a JPEG."""
    faces = [[], [(50, 60, 40)], [(54, 60, 42)], [(110, 60, 44)], [(45, 60, 40), (115, 62, 42)], []]
    pictures = [scene(places, size=size, number=n) for size in _SIZES for n, places in enumerate(faces)]
    return [(picture, cv2.imencode(".jpg", picture)[1].tobytes()) for picture in pictures]


def _resident_kilobytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def main() -> None:
    """Faces come, move, are lost and go; sizes change, some JPEGs are damaged, the clock jumps."""
    count, chance = int(sys.argv[1]), random.Random(1)
    pictures, cutters = _pictures(), [_cutter(None), _cutter(0.5)]
    found = unreadable = 0
    for number in range(count):
        if number % 12 == 0:
            group = chance.randrange(len(_SIZES)) * 6 if number % 120 == 0 else 0
            shown = pictures[group + chance.randrange(6)]
        data = bytearray(shown[1])
        if damaged := chance.random() < 0.02:
            data[chance.randrange(len(data))] ^= 255
        clock = number / 30 - 100 * (chance.random() < 0.001)
        try:
            picture = Jpeg(bytes(data)) if damaged or number % 2 else shown[0]
            found += len(cutters[number // 60 % 2].faces_in(Frame(picture, number, datetime.now(UTC), clock)))
        except (ValueError, UnreadableFrameError):
            unreadable += 1
        if (number + 1) % (count // _STEPS) == 0:
            print(number + 1, _resident_kilobytes(), found, unreadable, flush=True)


def _cutter(best_seconds: float | None) -> FaceCutter:
    tracker = Tracker(HaarFinder(), min_face_size=30, patience=10)
    return FaceCutter(tracker, edge_id="e", camera_id="c", margin=0.1, best_seconds=best_seconds)


if __name__ == "__main__":
    main()

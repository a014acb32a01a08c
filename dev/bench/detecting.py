"""`python -m dev.bench.detecting METHOD THREADS CLIP`: looks for faces in a clip; prints them and the cost as JSON.

A process of its own for each measurement: OpenCV's threads and caches are the process's. The clock runs from the
first frame to the last, without the loading of a cascade or a network.
"""

import cProfile
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dev.bench.measure import BenchmarkError
from edge_face_detection.faces.detector import DetectorError, Finder
from edge_face_detection.faces.haar import HaarFinder, load_cascade
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.faces.yunet import YuNetFinder
from edge_face_detection.opencv import cv2
from edge_face_detection.pictures.cutter import FaceCutter
from edge_face_detection.sources.frame import Frame, Image
from edge_face_detection.sources.open_source import open_source

Boxes: TypeAlias = list[tuple[int, int, int, int]]
"""x, y, width and height of each face that was published, in pixels."""

#: From this score on, the reference counts a find as a face.
REFERENCE_SCORE = 0.8
# The functions of each part of `--profile`: they do not call one another.
_PARTS = {
    "reading the file": ("grab", "retrieve"),
    "decoding": ("_picture", "decode_planes"),
    "search with all care": ("whole",),
    "scan for new faces": ("scan",),
    "look at known ones": ("look",),
    "following by likeness": ("match", "patch"),
    "colour of faces": ("colour",),
    "PNG": ("encode_png",),
}


def decode(clip: str) -> Iterator[Boxes]:
    """The least that any method must do where each frame has a face to be cut out."""
    return (_nothing(frame.image) for frame in _frames(clip))


def decode_half(clip: str) -> Iterator[Boxes]:
    """The least where no frame has one."""
    return (_nothing(_half(frame)) for frame in _frames(clip))


def naive(clip: str) -> Iterator[Boxes]:
    """As nearly every example on the web."""
    look = naive_calls()

    def publish(image: Image) -> Boxes:
        boxes = look(image)
        for x, y, width, height in boxes:
            cv2.imencode(".png", image[y : y + height, x : x + width])[1].tobytes()
        return boxes

    return map(publish, read(clip))


def haar(clip: str) -> Iterator[Boxes]:
    """edge_face_detection with its default settings."""
    return _ours("haar", clip)


def yunet(clip: str) -> Iterator[Boxes]:
    """edge_face_detection with DETECTOR=yunet and its model in YUNET_MODEL."""
    return _ours("yunet", clip)


def reference(clip: str) -> Iterator[Boxes]:
    """YuNet on the whole of each frame, at full size, at any cost: the truth of clips without labels."""
    make_finder("yunet")  # raises for a model that cannot be used
    look = network_calls(REFERENCE_SCORE)
    return ([(int(x), int(y), int(w), int(h)) for x, y, w, h, *_ in look(image)] for image in read(clip))


METHODS: dict[str, Callable[[str], Iterator[Boxes]]] = {
    method.__name__: method for method in (decode, decode_half, naive, haar, yunet, reference)
}


def cascade_calls(file: str, factor: float, neighbours: int) -> Callable[[Image], Boxes]:
    """One call of a cascade for each picture."""
    cascade = load_cascade(file)

    def look(image: Image) -> Boxes:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return [(int(x), int(y), int(w), int(h)) for x, y, w, h in cascade.detectMultiScale(grey, factor, neighbours)]

    return look


def naive_calls() -> Callable[[Image], Boxes]:
    return cascade_calls("haarcascade_frontalface_default.xml", 1.3, 5)


def network_calls(score: float) -> Callable[[Image], Sequence[NDArray[np.float32]]]:
    """One call of YuNet for each picture, at full size: a row for each face from that score on, its box first."""
    network = cv2.FaceDetectorYN.create(os.environ["YUNET_MODEL"], "", (320, 320), score)

    def look(image: Image) -> Sequence[NDArray[np.float32]]:
        network.setInputSize((image.shape[1], image.shape[0]))
        found = network.detect(image)[1]
        return () if found is None else tuple(found)

    return look


def frame(image: Image, number: int = 0, seconds: float = 0.0, *, is_still: bool = False) -> Frame:
    """A picture as a camera gives it, so many seconds after its first."""
    made = Frame(image, number, datetime.now(UTC), seconds)
    made.is_still = is_still
    return made


def make_finder(name: str) -> Finder:
    """Raises BenchmarkError for a detector that cannot be used."""
    try:
        return HaarFinder() if name == "haar" else YuNetFinder(Path(os.environ["YUNET_MODEL"]))
    except DetectorError as error:
        raise BenchmarkError(str(error)) from None


def _ours(name: str, clip: str) -> Iterator[Boxes]:
    cutter = FaceCutter(Tracker(make_finder(name)), edge_id="benchmark", camera_id="camera", margin=0.1)
    return ([event.facebox for event, _ in cutter.faces_in(frame) if event.facebox] for frame in _frames(clip))


def _frames(clip: str) -> Iterator[Frame]:
    return open_source(clip, realtime=False, loop=False).frames()


def read(clip: str) -> Iterator[Image]:
    """The clip's frames, H×W×3 uint8, BGR."""
    capture = cv2.VideoCapture(clip)
    while True:
        there, image = capture.read()
        if not there:
            return
        yield cast("Image", image)


def _half(frame: Frame) -> Image:
    width, height = frame.size
    return frame.view((0, 0, width, height), (width // 2, height // 2), grey=True)


def _nothing(_image: Image) -> Boxes:
    return []


def _profiled(frames: Iterator[Boxes]) -> tuple[list[Boxes], dict[str, float]]:
    """The boxes, and the CPU seconds of each part."""
    profile = cProfile.Profile(time.process_time)
    began = time.process_time()
    boxes = profile.runcall(list, frames)
    rest = time.process_time() - began
    seconds = dict.fromkeys(_PARTS, 0.0)
    for entry in profile.getstats():
        code = entry.code
        for part, functions in _PARTS.items():
            if not isinstance(code, str) and code.co_name in functions and "edge_face_detection" in code.co_filename:
                seconds[part] += entry.totaltime
    return boxes, {**seconds, "all else": rest - sum(seconds.values())}


def main() -> None:
    method, threads, clip, *profiled = sys.argv[1:]
    cv2.setNumThreads(int(threads) or cv2.getNumberOfCPUs())  # 0: OpenCV's default, which the program does not take
    frames = METHODS[method](clip)
    began, cpu = time.perf_counter(), time.process_time()
    boxes, parts = _profiled(frames) if profiled else (list(frames), {})
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"boxes": boxes, "seconds": seconds, "cpu_seconds": cpu_seconds, "parts": parts}))


if __name__ == "__main__":
    main()

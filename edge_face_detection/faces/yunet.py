"""Faces by YuNet, a small convolutional network."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from edge_face_detection.faces.detector import Box, DetectorError, Sighting
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["YuNetFinder", "frontality", "turn"]

_FILE = "face_detection_yunet_2023mar.onnx"
_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_WHERE = (
    f"take {_FILE} from https://github.com/opencv/opencv_zoo (models/face_detection_yunet) and name it in YUNET_MODEL"
)

# What may be a face is looked at again: half of the small faces in poor light have a score below a half.
_SCAN_SCORE, _SURE_SCORE, _SCORE = 0.3, 0.6, 0.4
# A whole picture is searched as in one plain call of OpenCV. The network sees faces of up to 300 pixels well, so larger
# ones are looked for in the picture at a half, a quarter and so on, where the shorter side has up to _LARGEST pixels.
# Two finds that overlap so (IoU) are the same face.
_WHOLE_SCORE, _SMALLER_SCORE, _WHOLE_OCTAVE, _LARGE, _LARGEST, _SAME = 0.6, 0.8, 2.0, 200, 320, 0.3
# In a video, a side of so many pixels is enough for the smallest face. A wrong one would stay for many frames.
_ENOUGH, _BEGIN_SCORE = 30, 0.65
# The network's sides are multiples of this.
_STEP = 32
# A size that is used often has a network of its own, since OpenCV builds much of a network anew when its size changes.
# That is still cheaper than another network.
_OFTEN = 4
_MAX_NETWORKS, _MAX_SIZES = 32, 1000


class YuNetFinder:
    """Faces from all sides, by YuNet: W. Wu, H. Peng and S. Yu, "YuNet: A tiny millisecond-level face detector".

    (Machine Intelligence Research 20, 2023.) `score` is the network's, from 0 to 1. `frontality` follows from the
    landmarks: 1 where the tip of the nose is midway between the eyes, 0 where it is below one of them or beyond.

    `model` is the file of OpenCV Zoo. Raises DetectorError when it is missing or not that file. One finder serves one
    thread at a time.
    """

    grey: ClassVar = False
    scan_sides: ClassVar[Sequence[float]] = (12.0,)
    reach: ClassVar = 16.0
    octave: ClassVar = 6.0
    again: ClassVar = True
    rough_side: ClassVar = 18
    look_side: ClassVar = 64
    look_span: ClassVar = 1.5
    # Of a head that is held at a slant, say.
    swells: ClassVar = True
    tilts: ClassVar[Sequence[float]] = ()

    def __init__(self, model: Path | None) -> None:
        self._model = _read(model)
        self._networks: dict[tuple[int, int], cv2.FaceDetectorYN] = {}
        self._uses: Counter[tuple[int, int]] = Counter()
        self._any_size = self._new_network((64, 64))
        self._detect(np.zeros((64, 64, 3), np.uint8))  # an OpenCV that cannot run it says so now

    def whole(self, picture: Image, smallest: float, *, is_still: bool) -> list[Sighting]:
        found: list[Sighting] = []
        height, width = picture.shape[:2]
        scales = [1.0 if is_still else min(1.0, _ENOUGH / smallest)]
        while scales[-1] * min(width, height) > _LARGEST:
            scales.append(scales[-1] / _WHOLE_OCTAVE)
        for scale in scales:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            shown = picture if scale == 1 else cast("Image", cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
            least = _SMALLER_SCORE if scale < scales[0] else _WHOLE_SCORE if is_still else _BEGIN_SCORE
            rows = [row for row in self._detect(shown) if row[14] >= least]
            for row in rows:
                box = Box(*(float(value) / scale for value in row[:4]))
                is_new = all(box.iou(other.box) < _SAME for other in found)
                if is_new and (scale == scales[0] or box.side >= _LARGE):
                    found.append(Sighting(box, float(row[14]), frontality(row)))
        return found

    def scan(self, picture: Image, smallest: float, largest: float) -> list[Box]:
        del smallest, largest  # one run finds all sizes
        return [Box(*map(float, row[:4])) for row in self._detect(picture)]

    def look(self, picture: Image, *, sure: bool, wary: bool = False) -> list[Sighting]:
        del wary
        rows = [row for row in self._detect(picture) if row[14] >= (_SURE_SCORE if sure else _SCORE)]
        return [Sighting(Box(*map(float, row[:4])), float(row[14]), frontality(row)) for row in rows]

    def frontality(self, picture: Image, box: Box) -> float | None:
        # The network puts the landmarks of the mirror image elsewhere, always to the same side, and that is most of
        # their error. It cancels out as long as right and left are told apart.
        mirrored = box._replace(x=picture.shape[1] - box.x - box.width)
        turns = [self._turn(picture, box), self._turn(cast("Image", cv2.flip(picture, 1)), mirrored)]
        told = [sign * value for sign, value in zip((1, -1), turns, strict=True) if value is not None]
        return _frontality(sum(told) / len(told)) if told else None

    def _turn(self, picture: Image, box: Box) -> float | None:
        """As `turn`, of the face at that box; None where there is none."""
        seen = [(Box(*map(float, row[:4])).iou(box), turn(row)) for row in self._detect(picture)]
        overlap, value = max(seen, default=(0.0, 0.0))
        return value if overlap else None

    def _detect(self, picture: Image) -> NDArray[np.float32]:
        """A row for each face: x, y, width, height, five landmarks (x, y each) and the score."""
        # OpenCV would do the same inside, but then each size has a network of its own.
        height, width = picture.shape[:2]
        down, across = -height % _STEP, -width % _STEP
        if down or across:
            picture = cast("Image", cv2.copyMakeBorder(picture, 0, down, 0, across, cv2.BORDER_CONSTANT))
        found = self._network((width + across, height + down)).detect(picture)[1]
        rows = np.empty((0, 15), np.float32) if found is None else np.asarray(found, np.float32)
        # In pictures of few pixels OpenCV reads memory that was never written, and finds faces of any size there.
        return rows[np.isfinite(rows).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)]

    def _network(self, size: tuple[int, int]) -> cv2.FaceDetectorYN:
        """The network for pictures of that width and height. Raises DetectorError."""
        network = self._networks.pop(size, None)
        if network is None:
            if len(self._uses) > _MAX_SIZES:
                self._uses.clear()
            self._uses[size] += 1
            if self._uses[size] < _OFTEN:
                self._any_size.setInputSize(size)
                return self._any_size
            if len(self._networks) >= _MAX_NETWORKS:
                del self._networks[next(iter(self._networks))]
            network = self._new_network(size)
        self._networks[size] = network  # the last one used comes last
        return network

    def _new_network(self, size: tuple[int, int]) -> cv2.FaceDetectorYN:
        try:
            return cv2.FaceDetectorYN.create("onnx", self._model, np.empty(0, np.uint8), size, _SCAN_SCORE, 0.3, 500)
        except (cv2.error, AttributeError) as error:
            raise DetectorError(f"this OpenCV ({cv2.__version__}) cannot run YuNet, 4.10 can: {error}") from error


def turn(row: NDArray[np.float32]) -> float:
    """How far the nose is off the middle between the eyes: 0 for none, 0.5 where it is below the left eye, -0.5 below
    the right one.

    `row` is YuNet's: x, y, width, height, right eye, left eye, tip of the nose (x, y each) and more.
    """
    right_eye, left_eye, nose = row[4:6], row[6:8], row[8:10]
    between = left_eye - right_eye
    distance = float(between @ between)
    # Along the line between the eyes, so that a head held at a slant counts as frontal.
    return float((nose - (right_eye + left_eye) / 2) @ between) / distance if distance else 0.5


def frontality(row: NDArray[np.float32]) -> float:
    """`row` is as for `turn`."""
    return _frontality(turn(row))


def _frontality(aside: float) -> float:
    return max(0.0, 1 - 2 * abs(aside))


def _read(path: Path | None) -> NDArray[np.uint8]:
    if path is None:
        raise DetectorError(f"DETECTOR=yunet needs its model: {_WHERE}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DetectorError(f"cannot read the model {path} ({error.strerror}): {_WHERE}") from None
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise DetectorError(f"{path} is not {_FILE} (its sha256 is not {_SHA256}): {_WHERE}")
    return np.frombuffer(content, np.uint8)

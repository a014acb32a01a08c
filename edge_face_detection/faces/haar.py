"""Faces by a cascade of Haar-like features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from edge_face_detection.faces.detector import Box, DetectorError, Sighting
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["HaarFinder"]

# Where Alpine's opencv and Debian's opencv-data put the files. PyPI's wheels bring them along, as cv2.data.
SYSTEM_FOLDERS = ("/usr/share/opencv4/haarcascades", "/usr/share/opencv/haarcascades")

_WINDOW = 20  # pixels, the side of the smallest face that the cascade knows
_SCAN_FACTOR, _LOOK_FACTOR, _LOOK_BAND = 1.3, 1.1, 1.35
# More is asked of a find in a turned picture, where folds and round things look like faces more often.
_NEIGHBORS_TURNED, _NEIGHBORS_SURE, _NEIGHBORS = 6, 4, 2
# A whole picture is searched as in one plain call of OpenCV. Sizes are steps, so it begins below the smallest. What the
# cascade sees this often is a face without the second one's word.
_WHOLE_FACTOR, _NEIGHBORS_WHOLE, _WHOLE_SMALLER, _NEIGHBORS_CERTAIN = 1.2, 3, 0.9, 6
# The second cascade must see the same face this often, so far around, of these sizes: its boxes differ.
_NEIGHBORS_SECOND, _SECOND_MARGIN, _SECOND_BAND = 1, 0.15, 1.25
# Grey levels are spread where their standard deviation is lower, and by this factor at most.
_DEVIATION, _MOST_GAIN = 30.0, 4.0


class HaarFinder:
    """Frontal faces, by a cascade of boosted Haar-like features.

    The method: P. Viola and M. Jones, "Rapid object detection using a boosted cascade of simple features" (CVPR 2001).
    The cascade: R. Lienhart and J. Maydt, "An extended set of Haar-like features for rapid object detection" (ICIP
    2002). A new face counts where a `second` cascade with another training also sees it: a pale patch with a soft edge
    may be a face to one of them, but hardly ever to both.

    `score` is the sum of the cascade's last stage (OpenCV's level weight), the highest of the windows that were merged
    into the face. It is no probability, and compares only with scores of the same cascade. `frontality` is always 1:
    neither the score nor a face's symmetry tells which face is more frontal.

    Raises DetectorError when a cascade is missing or broken. One finder serves one thread at a time.
    """

    # OpenCV slides a window of up to twice the smallest in steps of two pixels, a larger one in steps of one. So the
    # scan takes no larger ones and halves the picture instead: that is four times cheaper.
    grey: ClassVar = True
    scan_sides: ClassVar[Sequence[float]] = tuple(_WINDOW * _SCAN_FACTOR**step for step in range(3))
    reach: ClassVar = _SCAN_FACTOR
    octave: ClassVar = 2.0
    again: ClassVar = False
    rough_side: ClassVar = 20
    look_side: ClassVar = 40
    look_span: ClassVar = 1.6
    swells: ClassVar = False
    # It sees faces that are tilted by up to about 12 degrees.
    tilts: ClassVar[Sequence[float]] = (-18.0, 18.0)
    leans: ClassVar = False

    def __init__(
        self, *, cascade: str = "haarcascade_frontalface_alt2.xml", second: str = "haarcascade_frontalface_default.xml"
    ) -> None:
        self._classifier = load_cascade(cascade)
        self._second = load_cascade(second)

    def whole(self, picture: Image, smallest: float) -> list[Sighting]:
        contrasted = _contrasted(picture)
        side = max(1, round(smallest * _WHOLE_SMALLER))
        boxes, neighbors = self._classifier.detectMultiScale2(
            contrasted, scaleFactor=_WHOLE_FACTOR, minNeighbors=_NEIGHBORS_WHOLE, minSize=(side, side)
        )
        faces = [(Box(*map(float, box)), count) for box, count in zip(boxes, np.ravel(neighbors), strict=True)]
        return [
            Sighting(face, self._score(contrasted, face), 1.0)
            for face, count in faces
            if count >= _NEIGHBORS_CERTAIN or self._is_confirmed(contrasted, face)
        ]

    def _score(self, picture: Image, box: Box) -> float:
        part = _around(picture, box)
        sizes = _sizes(box.width, _SECOND_BAND)
        _, _, weights = self._classifier.detectMultiScale3(part, minNeighbors=1, outputRejectLevels=True, **sizes)
        return float(max(np.ravel(weights), default=0.0))

    def scan(self, picture: Image, smallest: float, largest: float) -> list[Box]:
        boxes = self._classifier.detectMultiScale(
            _contrasted(picture),
            scaleFactor=_SCAN_FACTOR,
            minNeighbors=0,
            minSize=(round(smallest), round(smallest)),
            maxSize=(round(largest), round(largest)),
        )
        return [Box(*map(float, box)) for box in boxes]

    def look(self, picture: Image, *, sure: bool, turned: bool = False) -> list[Sighting]:
        neighbors = _NEIGHBORS if not sure else _NEIGHBORS_TURNED if turned else _NEIGHBORS_SURE
        contrasted = _contrasted(picture)
        boxes, _, weights = self._classifier.detectMultiScale3(
            contrasted,
            minNeighbors=neighbors,
            outputRejectLevels=True,
            **_sizes(self.look_side, _LOOK_BAND),
        )
        weighted = [(Box(*map(float, box)), float(w)) for box, w in zip(boxes, np.ravel(weights), strict=True)]
        return [Sighting(box, w, 1.0) for box, w in weighted if not sure or self._is_confirmed(contrasted, box)]

    def _is_confirmed(self, picture: Image, box: Box) -> bool:
        """Whether the second cascade also sees that face."""
        part = _around(picture, box)
        sizes = _sizes(box.width, _SECOND_BAND)
        return len(self._second.detectMultiScale(part, minNeighbors=_NEIGHBORS_SECOND, **sizes)) > 0


def _around(picture: Image, box: Box) -> Image:
    """The part of the picture with that box in its middle."""
    margin = box.width * _SECOND_MARGIN
    left, top = (max(0, round(value - margin)) for value in (box.x, box.y))
    right, bottom = round(box.x + box.width + margin), round(box.y + box.height + margin)
    return np.ascontiguousarray(picture[top:bottom, left:right])


def _sizes(side: float, band: float) -> dict[str, Any]:
    """Arguments of `detectMultiScale` for faces of about that side."""
    smallest, largest = (round(side * factor) for factor in (1 / band, band))
    return {"scaleFactor": _LOOK_FACTOR, "minSize": (smallest, smallest), "maxSize": (largest, largest)}


def _contrasted(picture: Image) -> Image:
    """Spreads close grey levels: OpenCV passes over windows whose deviation is below ten."""
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(picture))
    gain = min(_DEVIATION / deviation, _MOST_GAIN) if deviation > 0 else 1.0
    if gain <= 1:
        return picture
    levels = np.clip((np.arange(256) - mean) * gain + 128, 0, 255).astype(np.uint8)
    return cast("Image", cv2.LUT(picture, levels))


def load_cascade(cascade: str) -> cv2.CascadeClassifier:
    """A cascade of OpenCV's own, by its file's name. Raises DetectorError when it is missing or broken."""
    bundled = getattr(cv2, "data", None)
    folders = ([bundled.haarcascades] if bundled else []) + list(SYSTEM_FOLDERS)
    path = next((path for folder in folders if (path := Path(folder, cascade)).is_file()), None)
    if path is None:
        raise DetectorError(
            f"the face cascade {cascade} is in none of {', '.join(folders)}:"
            " install the package opencv (Alpine) or opencv-data (Debian, Ubuntu)"
        )
    try:
        classifier = cv2.CascadeClassifier(str(path))
        if not classifier.empty():
            return classifier
        reason = "install its package again"
    except (cv2.error, SystemError) as error:
        reason = str(error)
    raise DetectorError(f"{path} is no cascade that OpenCV can read: {reason}")

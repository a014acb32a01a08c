"""Faces by a cascade of Haar-like features."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
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
_LOOK_FACTOR, _LOOK_BAND = 1.1, 1.35
# A scan takes only the first of the cascade's 20 stages. So it sees nearly all faces, although its steps are large.
_SCAN_FACTOR, _SCAN_STAGES = 1.41, 16
# More is asked of a find in a turned picture, where folds and round things look like faces more often.
_NEIGHBORS_WARY, _NEIGHBORS_SURE, _NEIGHBORS = 6, 4, 2
# A whole picture is searched as in one plain call of OpenCV. Sizes are steps, so it begins below the smallest. What the
# cascade sees this often in a still is a face without the second one's word.
_WHOLE_FACTOR, _NEIGHBORS_WHOLE, _WHOLE_SMALLER, _NEIGHBORS_CERTAIN = 1.2, 3, 0.9, 6
# In a video the call is made only where a scan saw something, so far around, for these sizes: it costs far less. What
# overlaps so (see OpenCV's groupRectangles; IoU) is the same face.
_PART_MARGIN, _PART_BAND, _GROUPED, _SAME = 0.5, 1.5, 0.4, 0.35
# The second cascade must see the same face this often, so far around, of these sizes: its boxes differ.
_NEIGHBORS_SECOND, _SECOND_MARGIN, _SECOND_BAND = 1, 0.15, 1.25
# How frontal a face is follows from how often cascades see it, in so fine steps and of these sizes. The more a head is
# turned, the less often the frontal one does, and the one for profiles does more often in the picture or more often in
# its mirror image. So many sightings are as good as more. Without any by the frontal one, frontality falls by so much.
_COUNT_FACTOR, _COUNT_BAND, _COUNT_MOST, _COUNT_WEIGHT = 1.05, 1.2, 40, 0.1
# Grey levels are spread where their standard deviation is lower, and by this factor at most.
_DEVIATION, _MOST_GAIN = 30.0, 4.0


class HaarFinder:
    """Frontal faces, by a cascade of boosted Haar-like features.

    The method: P. Viola and M. Jones, "Rapid object detection using a boosted cascade of simple features" (CVPR 2001).
    The cascade: R. Lienhart and J. Maydt, "An extended set of Haar-like features for rapid object detection" (ICIP
    2002). A new face counts where a `second` cascade with another training also sees it: a pale patch with a soft edge
    may be a face to one of them, but hardly ever to both.

    `score` is the sum of the cascade's last stage (OpenCV's level weight), the highest of the windows that were merged
    into the face. It is no probability, and compares only with scores of the same cascade. The `frontality` of a
    sighting is always 1. With care it tells how often the cascade and a third one, for `profile` faces, see the face.

    Raises DetectorError when a cascade is missing or broken. One finder serves one thread at a time.
    """

    # OpenCV slides a window of up to twice the smallest in steps of two pixels, a larger one in steps of one. So the
    # scan takes no larger ones and halves the picture instead: that is four times cheaper.
    grey: ClassVar = True
    scan_sides: ClassVar[Sequence[float]] = (_WINDOW, _WINDOW * _SCAN_FACTOR)
    reach: ClassVar = _SCAN_FACTOR
    octave: ClassVar = 2.0
    again: ClassVar = False
    rough_side: ClassVar = 20
    look_side: ClassVar = 40
    look_span: ClassVar = 1.6
    swells: ClassVar = False
    # It sees faces that are tilted by up to about 12 degrees.
    tilts: ClassVar[Sequence[float]] = (-18.0, 18.0)

    def __init__(
        self,
        *,
        cascade: str = "haarcascade_frontalface_alt2.xml",
        second: str = "haarcascade_frontalface_default.xml",
        profile: str = "haarcascade_profileface.xml",
    ) -> None:
        self._classifier = load_cascade(cascade)
        self._scanner = load_cascade(cascade, stages=_SCAN_STAGES)
        self._second = load_cascade(second)
        self._profile = load_cascade(profile)

    def whole(self, picture: Image, smallest: float, *, is_still: bool) -> list[Sighting]:
        contrasted = _contrasted(picture)
        side = max(1, round(smallest * _WHOLE_SMALLER))
        if is_still:
            found = self._faces(contrasted, minSize=(side, side))
        else:
            found = [face for place in self._places(contrasted, side) for face in self._near(contrasted, place, side)]
        faces: list[Box] = []
        for box, count in sorted(found, key=lambda face: -face[1]):
            # In a video a wrong face would stay for many frames.
            is_certain = is_still and count >= _NEIGHBORS_CERTAIN
            if all(box.iou(face) < _SAME for face in faces) and (is_certain or self._is_confirmed(contrasted, box)):
                faces.append(box)
        return [Sighting(face, self._score(contrasted, face), 1.0) for face in faces]

    def _places(self, picture: Image, smallest: int) -> list[Box]:
        """Where a face of that side or a larger one may be."""
        seen: list[list[int]] = []
        scale = min(1.0, _WINDOW / smallest)
        while min(picture.shape) * scale >= _WINDOW:
            size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
            shown = cast("Image", cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR))
            boxes = self._scan(shown, _WINDOW, self.octave * _WINDOW - 1)
            seen += [[round(value / scale) for value in box] for box in boxes]
            scale /= self.octave
        return _grouped(seen)

    def _near(self, picture: Image, place: Box, smallest: int) -> Iterator[tuple[Box, int]]:
        part, (left, top) = _around(picture, place, _PART_MARGIN)
        sides = max(smallest, round(place.width / _PART_BAND)), round(place.width * _PART_BAND)
        for box, count in self._faces(part, minSize=(sides[0], sides[0]), maxSize=(sides[1], sides[1])):
            yield box._replace(x=left + box.x, y=top + box.y), count

    def _faces(self, picture: Image, **sizes: Any) -> list[tuple[Box, int]]:
        """Faces, and how often the cascade saw each."""
        boxes, counts = self._classifier.detectMultiScale2(
            picture, scaleFactor=_WHOLE_FACTOR, minNeighbors=_NEIGHBORS_WHOLE, **sizes
        )
        return [(Box(*map(float, box)), int(count)) for box, count in zip(boxes, np.ravel(counts), strict=True)]

    def _score(self, picture: Image, box: Box) -> float:
        part, _ = _around(picture, box, _SECOND_MARGIN)
        sizes = _sizes(box.width, _SECOND_BAND)
        _, _, weights = self._classifier.detectMultiScale3(part, minNeighbors=1, outputRejectLevels=True, **sizes)
        return float(max(np.ravel(weights), default=0.0))

    def scan(self, picture: Image, smallest: float, largest: float) -> list[Box]:
        return _grouped(self._scan(_contrasted(picture), smallest, largest))

    def _scan(self, picture: Image, smallest: float, largest: float) -> Sequence[Sequence[int]]:
        sides = round(smallest), round(largest)
        return self._scanner.detectMultiScale(
            picture,
            scaleFactor=_SCAN_FACTOR,
            minNeighbors=0,
            minSize=(sides[0], sides[0]),
            maxSize=(sides[1], sides[1]),
        )

    def look(self, picture: Image, *, sure: bool, wary: bool = False) -> list[Sighting]:
        neighbors = _NEIGHBORS if not sure else _NEIGHBORS_WARY if wary else _NEIGHBORS_SURE
        contrasted = _contrasted(picture)
        boxes, _, weights = self._classifier.detectMultiScale3(
            contrasted,
            minNeighbors=neighbors,
            outputRejectLevels=True,
            **_sizes(self.look_side, _LOOK_BAND),
        )
        weighted = [(Box(*map(float, box)), float(w)) for box, w in zip(boxes, np.ravel(weights), strict=True)]
        return [Sighting(box, w, 1.0) for box, w in weighted if not sure or self._is_confirmed(contrasted, box)]

    def frontality(self, picture: Image, box: Box) -> float | None:
        picture = _contrasted(picture)
        sizes = {**_sizes(box.width, _COUNT_BAND), "scaleFactor": _COUNT_FACTOR}
        mirror = cast("Image", cv2.flip(picture, 1))
        shown = [(self._classifier, picture), (self._profile, picture), (self._profile, mirror)]
        counts = [cascade.detectMultiScale2(image, minNeighbors=1, **sizes)[1] for cascade, image in shown]
        frontal, right, left = (min(_COUNT_MOST, max(map(int, np.ravel(count)), default=0)) for count in counts)
        missing = (_COUNT_MOST - frontal + abs(right - left)) / _COUNT_MOST
        return 1 - _COUNT_WEIGHT * missing

    def _is_confirmed(self, picture: Image, box: Box) -> bool:
        """Whether the second cascade also sees that face."""
        part, _ = _around(picture, box, _SECOND_MARGIN)
        sizes = _sizes(box.width, _SECOND_BAND)
        return len(self._second.detectMultiScale(part, minNeighbors=_NEIGHBORS_SECOND, **sizes)) > 0


def _grouped(boxes: Sequence[Sequence[int]]) -> list[Box]:
    """Boxes of the same place as one, in their middle."""
    # Each is there twice, as OpenCV drops what is there once.
    groups = cv2.groupRectangles([*boxes, *boxes], 1, _GROUPED)[0] if len(boxes) else ()
    return [Box(*map(float, group)) for group in groups]


def _around(picture: Image, box: Box, margin: float) -> tuple[Image, tuple[int, int]]:
    """The part of the picture with that box in its middle and a margin (sides of the box), and where it begins."""
    margin *= box.width
    left, top = (max(0, round(value - margin)) for value in (box.x, box.y))
    right, bottom = round(box.x + box.width + margin), round(box.y + box.height + margin)
    return np.ascontiguousarray(picture[top:bottom, left:right]), (left, top)


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


def load_cascade(cascade: str, *, stages: int | None = None) -> cv2.CascadeClassifier:
    """A cascade of OpenCV's own, by its file's name; `stages`: only so many of its first ones.

    Raises DetectorError when it is missing or broken.
    """
    bundled = getattr(cv2, "data", None)
    folders = ([bundled.haarcascades] if bundled else []) + list(SYSTEM_FOLDERS)
    path = next((path for folder in folders if (path := Path(folder, cascade)).is_file()), None)
    if path is None:
        raise DetectorError(
            f"the face cascade {cascade} is in none of {', '.join(folders)}:"
            " install the package opencv (Alpine) or opencv-data (Debian, Ubuntu)"
        )
    try:
        classifier = _first_stages(path, stages) if stages else cv2.CascadeClassifier(str(path))
        if not classifier.empty():
            return classifier
        reason = "install its package again"
    except (cv2.error, SystemError, ET.ParseError, ValueError) as error:
        reason = str(error)
    raise DetectorError(f"{path} is no cascade that OpenCV can read: {reason}")


def _first_stages(path: Path, count: int) -> cv2.CascadeClassifier:
    tree = ET.parse(path)  # noqa: S314 - it is OpenCV's own
    stages, number = tree.find("*/stages"), tree.find("*/stageNum")
    if stages is None or number is None:
        raise ValueError("it has no stages")
    for stage in list(stages)[count:]:
        stages.remove(stage)
    number.text = str(len(stages))
    text = '<?xml version="1.0"?>' + ET.tostring(tree.getroot(), encoding="unicode")
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    classifier = cv2.CascadeClassifier()
    classifier.read(storage.getFirstTopLevelNode())
    return classifier

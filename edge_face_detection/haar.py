"""Faces by a cascade of Haar-like features."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_face_detection.detector import DetectorError, Face
from edge_face_detection.frames import Image
from edge_face_detection.opencv import cv2

__all__ = ["HaarDetector"]

# Where Alpine's opencv and Debian's opencv-data put the files. PyPI's wheels bring them along, as cv2.data.
SYSTEM_FOLDERS = ("/usr/share/opencv4/haarcascades", "/usr/share/opencv/haarcascades")


class HaarDetector:
    """Frontal faces, by a cascade of boosted Haar-like features.

    The method is that of P. Viola and M. Jones, "Rapid object detection using a boosted cascade of simple
    features" (CVPR 2001); the cascade is one of R. Lienhart's: R. Lienhart and J. Maydt, "An extended set of
    Haar-like features for rapid object detection" (ICIP 2002).

    A face's `score` is the sum of the cascade's last stage (OpenCV's level weight), the highest of the
    windows that were merged into the face: the further above the stage's threshold, the surer. It is no
    probability, and compares only with scores of the same cascade.

    Pictures larger than `max_side` (pixels, their longer side) are shrunk to it before they are looked at;
    `min_face_size` is in pixels of the picture as given. One detector serves one thread at a time.

    Raises ValueError for settings that cannot work, DetectorError when the cascade is missing or broken.
    """

    def __init__(
        self,
        *,
        scale_factor: float = 1.2,
        min_neighbors: int = 3,
        max_side: int = 640,
        min_face_size: int = 40,
        cascade: str = "haarcascade_frontalface_alt2.xml",
    ) -> None:
        if not 1 < scale_factor < math.inf:
            raise ValueError(f"scale_factor must be above 1, not {scale_factor}")
        for name, value in (
            ("min_neighbors", min_neighbors),
            ("max_side", max_side),
            ("min_face_size", min_face_size),
        ):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        self._scale_factor = scale_factor
        self._min_neighbors = min_neighbors
        self._max_side = max_side
        self._min_face_size = min_face_size
        self._classifier = _load(cascade)

    def detect(self, image: Image) -> list[Face]:
        """The faces in the picture (uint8: H×W×3 BGR, H×W×4 BGRA, or grey as H×W or H×W×1), surest first."""
        height, width = image.shape[:2]
        if min(height, width) < self._min_face_size:
            return []
        grey = _grey(image)
        scale = min(1.0, self._max_side / max(height, width))
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        smallest = math.ceil(self._min_face_size * scale)
        boxes, _, weights = self._classifier.detectMultiScale3(
            grey,
            scaleFactor=self._scale_factor,
            minNeighbors=self._min_neighbors,
            minSize=(smallest, smallest),
            outputRejectLevels=True,
        )
        # The shrunk picture's sides were rounded, each in its own way.
        across, down = width / grey.shape[1], height / grey.shape[0]
        faces = []
        for (x, y, box_width, box_height), weight in zip(boxes, np.ravel(weights), strict=True):
            left, right = round(x * across), round((x + box_width) * across)
            top, bottom = round(y * down), round((y + box_height) * down)
            faces.append(Face(left, top, right - left, bottom - top, float(weight)))
        return sorted(faces, key=lambda face: (-face.score, face.x, face.y))


def _grey(image: Image) -> NDArray[Any]:
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if image.shape[2] == 3 else cv2.COLOR_BGRA2GRAY)


def _load(cascade: str) -> cv2.CascadeClassifier:
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
    except (cv2.error, SystemError) as error:
        raise DetectorError(f"{path} is no cascade that OpenCV can read: {error}") from error
    if classifier.empty():
        raise DetectorError(f"{path} is no cascade that OpenCV can read: install its package again")
    return classifier

"""Pictures turned upright, for a detector that sees no tilted faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge_face_detection.faces.detector import Box
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["Upright"]


@dataclass(frozen=True, slots=True)
class Upright:
    """A picture, turned so that faces which are tilted by some degrees stand upright."""

    picture: Image
    _back: NDArray[np.float64]

    @classmethod
    def of(cls, picture: Image, degrees: float) -> Upright:
        """All of the picture (H×W or H×W×3), for faces that are tilted clockwise by so many degrees."""
        height, width = picture.shape[:2]
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
        cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
        size = round(width * cosine + height * sine), round(height * cosine + width * sine)
        turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
        turned = cv2.warpAffine(picture, turn, size, borderMode=cv2.BORDER_REPLICATE)
        return cls(cast("Image", turned), cast("NDArray[np.float64]", cv2.invertAffineTransform(turn)))

    def box(self, box: Box) -> Box:
        """What is there in the picture that was turned: a box around the same centre, of the same size."""
        x, y = self._back @ np.array([*box.centre, 1.0])
        return Box.at(float(x), float(y), box.width, box.height)

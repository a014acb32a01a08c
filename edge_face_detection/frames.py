"""A frame, and what all sources of frames share."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from edge_face_detection.opencv import cv2

__all__ = ["Frame", "Image", "SourceError", "to_bgr"]

Image: TypeAlias = NDArray[np.uint8]
"""H×W×3 uint8, BGR, unless said otherwise."""


class SourceError(Exception):
    """A source that cannot be used and never will be; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source."""

    image: Image
    """H×W×3 uint8, BGR."""
    number: int
    """Counts the frames of this source from 0, skipped ones included."""
    captured_at: datetime
    """Wall clock, UTC, as close to the grab as can be."""
    captured_monotonic: float
    """The same moment on `time.monotonic()`, in seconds."""


def to_bgr(image: NDArray[Any]) -> Image:
    """The picture as H×W×3 uint8, BGR, from grey (H×W, H×W×1), BGR or BGRA, of 8 or 16 bits a channel.

    Raises ValueError for anything else, and for a picture without pixels.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4) or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"no picture of 8 or 16 bits in grey, BGR or BGRA: {image.shape} {image.dtype}")
    if channels == 3:
        return image
    conversion = cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR
    return cast("Image", cv2.cvtColor(image, conversion))

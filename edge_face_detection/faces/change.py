"""How a frame differs from the one before: in time, and in what it shows. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Frame, Image

__all__ = ["Change", "ChangeWatch"]

# Seconds from the frame before. A later frame stands alone; after a longer gap nobody is known again.
_ALONE_SECONDS, _FORGET_SECONDS = 0.5, 2.0
# A part of the picture has changed when it differs by this many grey levels of 255 from the frame before. A new scene
# has changed by the share _CUT. Where both are dark, it has changed by fewer levels and no longer correlates, and each
# shows more (standard deviation, grey levels) than noise does.
_CHANGED, _CUT = 25, 0.5
_CHANGED_DARK, _CUT_DARK, _CORRELATION, _CONTRAST = 4, 0.4, 0.5, 3.0
# Something has come when the change is _STIR above a multiple of what is usual, which is learnt.
_STIR, _STIR_USUAL, _USUAL_GAIN = 0.02, 2, 0.05
_GLANCE = (32, 24)


@dataclass(frozen=True, slots=True)
class Change:
    #: The frame before says little about this one.
    is_alone: bool
    #: It says nothing: all tracks end.
    is_cut: bool
    #: More has changed than is usual.
    is_stir: bool
    #: Seconds since the frame before.
    seconds: float


class ChangeWatch:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._glance = np.zeros(_GLANCE[::-1], np.uint8)
        self._size = (0, 0)
        self._moment = 0.0
        self._usual = 0.0

    def next(self, frame: Frame, *, shrink: float) -> Change:
        """`shrink`: by how much a `view` of the frame is going to shrink it. Raises UnreadableFrameError."""
        glance = frame.glance(_GLANCE, shrink=shrink)
        changed = float(np.count_nonzero(cv2.absdiff(glance, self._glance) > _CHANGED)) / glance.size
        # The absolute value: a clock may be set back.
        seconds = abs(frame.moment - self._moment)
        is_new = frame.size != self._size
        is_cut = is_new or changed > _CUT or seconds >= _FORGET_SECONDS or _is_other(self._glance, glance)
        is_stir = changed > _STIR + _STIR_USUAL * self._usual
        self._usual += _USUAL_GAIN * (min(changed, _CUT) - self._usual)
        self._glance, self._size, self._moment = glance, frame.size, frame.moment
        return Change(is_cut or seconds >= _ALONE_SECONDS, is_cut, is_stir, 0.0 if is_new else seconds)


def _is_other(one: Image, other: Image) -> bool:
    """Whether two glances show different scenes, both of them dark or not."""
    if np.count_nonzero(cv2.absdiff(one, other) > _CHANGED_DARK) < _CUT_DARK * one.size:
        return False
    smooth, other_smooth = (cv2.blur(picture.astype(np.float32), (3, 3)) for picture in (one, other))
    if min(smooth.std(), other_smooth.std()) < _CONTRAST:
        return False
    return float(np.corrcoef(smooth.ravel(), other_smooth.ravel())[0, 1]) < _CORRELATION

"""One face that is followed from frame to frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from edge_face_detection.faces.detector import Box, Face, Finder, Sighting
from edge_face_detection.faces.tilt import Upright
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Frame, Image

__all__ = ["Claim", "Track", "Window"]

# How fast the estimate of the speed follows what is seen, and how it fades while nothing is.
_SPEED_GAIN, _SPEED_FADE = 0.25, 0.98
# Sizes are smoothed: detections of the same face differ by a tenth.
_SIZE_GAIN = 0.7
# Only the middle of the face is compared, without the background at its edges.
_MIDDLE = 0.8
# Pixels of a window by which detections of the same face differ. That must not make it less alike.
_PLAY = 2
# A window of which less lies in the frame (sides of the face) is not looked at.
_LEAST_SHOWN = 0.5
# How far from its expected place a lost face may come back: sides of its box, at once and for each frame away; and how
# much larger or smaller.
_REACH, _REACH_FRAME, _REACH_MOST, _SIZES = 0.6, 0.1, 2.0, 1.6
# A face that is larger than expected by this factor is looked at again, as if its box were smaller by that one.
_SWOLLEN, _CLOSER = 1.1, 0.85


class Window:
    """The square around a box, cut off at the frame's edge, and scaled so that a face of that box has `look_side`."""

    def __init__(self, finder: Finder, picture: Image, place: tuple[int, int], scale: float) -> None:
        self._finder = finder
        self._picture = picture
        self._grey = picture if finder.grey else cast("Image", cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
        (self._x, self._y), self._scale = place, scale

    @classmethod
    def of(cls, frame: Frame, box: Box, finder: Finder, *, play: float = 0.0) -> Window | None:
        """`play`: sides of the face added on each side. None when too little of it lies in the frame."""
        span = finder.look_span + 2 * play
        (width, height), (across, down), side = frame.size, box.centre, box.side * span
        left, right = max(0, round(across - side / 2)), min(width, round(across + side / 2))
        top, bottom = max(0, round(down - side / 2)), min(height, round(down + side / 2))
        if min(right - left, bottom - top) < box.side * _LEAST_SHOWN:
            return None
        full, scale = round(finder.look_side * span), finder.look_side / box.side
        size = min(full, round((right - left) * scale)), min(full, round((bottom - top) * scale))
        picture = frame.view((left, top, right - left, bottom - top), size, grey=finder.grey)
        return cls(finder, picture, (left, top), size[0] / (right - left))

    def detect(
        self,
        near: Box,
        *,
        sure: bool,
        play: float = 0.0,
        tilt: float = 0.0,
        again: bool = False,
    ) -> Sighting | None:
        """The face that overlaps most with the box, else the nearest within `play` of the box's sides; in pixels of the
        frame. None where there is none. `tilt`: the finder is shown the picture turned back by so many degrees;
        `again`: the face was seen there just now.
        """
        best, most = None, 0.0
        upright = Upright.of(self._picture, tilt) if tilt else None
        wary = upright is not None and not again
        for sighting in self._finder.look(upright.picture if upright else self._picture, sure=sure, wary=wary):
            found = upright.box(sighting.box) if upright else sighting.box
            x, y, width, height = (value / self._scale for value in found)
            box = Box(self._x + x, self._y + y, width, height)
            if (nearness := _nearness(box, near, play)) > most:
                best, most = replace(sighting, box=box, tilt=tilt), nearness
        return best

    def frontality(self, box: Box) -> float | None:
        """Of the face at that box, as its finder tells."""
        place = box._replace(x=box.x - self._x, y=box.y - self._y)
        return self._finder.frontality(self._picture, Box(*(value * self._scale for value in place)))

    def patch(self, box: Box, *, margin: int = 0) -> Image:
        """The middle of a box, in grey: look_side * _MIDDLE pixels wide and high, and a margin."""
        middle = round(self._finder.look_side * _MIDDLE)
        side = middle + 2 * margin
        across, down = box.centre
        centre = (across - self._x) * self._scale - 0.5, (down - self._y) * self._scale - 0.5
        zoom = box.side * self._scale * _MIDDLE / middle
        to_window = np.array(
            [[zoom, 0, centre[0] - zoom * (side - 1) / 2], [0, zoom, centre[1] - zoom * (side - 1) / 2]]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpAffine(self._grey, to_window, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return cast("Image", patch)

    def match(self, template: Image) -> tuple[float, tuple[float, float]]:
        """Likeness of the place that is most like the template (-1 to 1), and that place's middle in the frame."""
        height, width = template.shape
        if height > self._grey.shape[0] or width > self._grey.shape[1]:
            return -1.0, (0.0, 0.0)
        _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(self._grey, template, cv2.TM_CCOEFF_NORMED))
        return best, (self._x + (x + width / 2) / self._scale, self._y + (y + height / 2) / self._scale)


def closer(
    frame: Frame, finder: Finder, window: Window, sighting: Sighting, near: Box, *, sure: bool
) -> tuple[Window, Sighting]:
    """The face from closer by, where it seems to have grown and the finder `swells`; else what was given.

    Otherwise the box of a head held at a slant would grow from look to look, up to twice its size.
    """
    if not finder.swells or sighting.box.side <= _SWOLLEN * near.side:
        return window, sighting
    inner = Window.of(frame, Box.at(*near.centre, near.width * _CLOSER, near.height * _CLOSER), finder)
    again = inner and inner.detect(near, sure=sure)
    return (inner, again) if inner and again and again.box.side < sighting.box.side else (window, sighting)


def _nearness(box: Box, near: Box, play: float) -> float:
    """Above 1 where they overlap, more the more they do; above 0 within `play`."""
    if overlap := box.iou(near):
        return 1 + overlap
    (x, y), (near_x, near_y) = box.centre, near.centre
    reach = near.side * (1 + play)
    return 1 - math.hypot(x - near_x, y - near_y) / reach if play else 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Where a track has its face in this frame, and its likeness to the last detection of that face (-1 to 1).

    `detected` is what was detected and its picture; None where the face was followed.
    """

    box: Box
    likeness: float
    detected: tuple[Sighting, Image] | None = None


class Track:
    """A face's identity and state: where it is, how fast it moves, how it looked, how long it is away."""

    def __init__(self, number: int, sighting: Sighting, patch: Image, *, is_sure: bool) -> None:
        self.number = number
        #: Whether its first sighting needs no proof.
        self.is_sure = is_sure
        self.box = sighting.box
        #: Frames since it was last there; frames since it was last detected; its detections.
        self.away, self.undetected, self.detections = 0, 0, 1
        #: Whether it went behind another face.
        self.hidden = False
        self._speed = (0.0, 0.0)
        self._sighting = sighting
        self._template = patch

    @property
    def tilt(self) -> float:
        """Degrees clockwise at which it was detected last."""
        return self._sighting.tilt

    @property
    def expected(self) -> Box:
        """Where it should be in the next frame."""
        return self.box._replace(x=self.box.x + self._speed[0], y=self.box.y + self._speed[1])

    def may_be_at(self, box: Box, *, play: float) -> bool:
        """Whether a lost face can be back there; `play`: further off by so many of its sides."""
        if not self.away:
            return False
        (x, y), (old_x, old_y) = box.centre, self.box.centre
        reach = self.box.side * min(_REACH + play + _REACH_FRAME * self.away, _REACH_MOST)
        return math.hypot(x - old_x, y - old_y) <= reach and 1 / _SIZES <= box.side / self.box.side <= _SIZES

    def followed(self, window: Window) -> Claim:
        """The place in the window that is most like the face."""
        likeness, middle = window.match(self._template)
        return Claim(Box.at(*middle, self.box.width, self.box.height), likeness)

    def detected(self, window: Window, sighting: Sighting) -> Claim:
        """The face that was detected in the window."""
        gain, known = 1.0 if self.away else _SIZE_GAIN, self.box
        width = known.width + gain * (sighting.box.width - known.width)
        height = known.height + gain * (sighting.box.height - known.height)
        box = Box.at(*sighting.box.centre, width, height)
        patch = window.patch(box, margin=_PLAY)
        likeness = float(cv2.matchTemplate(patch, self._template, cv2.TM_CCOEFF_NORMED).max())
        return Claim(box, likeness, (sighting, patch[_PLAY:-_PLAY, _PLAY:-_PLAY]))

    def accept(self, claim: Claim) -> None:
        """The face is where the claim says."""
        (x, y), (old_x, old_y) = claim.box.centre, self.expected.centre
        # After an absence the place alone is news: it says nothing about the speed.
        gain = 0.0 if self.away else _SPEED_GAIN
        self._speed = self._speed[0] + gain * (x - old_x), self._speed[1] + gain * (y - old_y)
        self.box = claim.box
        self.away, self.hidden = 0, False
        self.undetected += 1
        if claim.detected:
            self._sighting, self._template = claim.detected
            self.detections += 1
            self.undetected = 0

    def miss(self, *, hidden: bool) -> None:
        """The face is not seen, perhaps because another one hides it. It is expected to go on as it went."""
        self.box = self.expected
        self.hidden = hidden or self.hidden
        if not self.hidden:
            self._speed = self._speed[0] * _SPEED_FADE, self._speed[1] * _SPEED_FADE
        self.away += 1
        self.undetected += 1

    def face(self, size: tuple[int, int]) -> Face:
        """As it is published: in whole pixels, cut off at the edge of the frame (width and height)."""
        left, top = max(0, round(self.box.x)), max(0, round(self.box.y))
        width = min(size[0], round(self.box.x + self.box.width)) - left
        height = min(size[1], round(self.box.y + self.box.height)) - top
        score, frontality = self._sighting.score, self._sighting.frontality
        return Face(left, top, width, height, score, self.number, self.undetected == 0, frontality)

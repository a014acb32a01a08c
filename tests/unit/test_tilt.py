"""Tilted faces are found, followed and cut out, by the cascades too, which see upright ones only."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_face_detection.faces.detector import Box, Face, Finder
from edge_face_detection.faces.tilt import Upright
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.sources.frame import Image
from tests.support.scenes import SIZE, frame, make_finder, scene, with_both

MIDDLE, SIDE = (160.0, 120.0), 80.0
# All of a frame is searched for either tilt in four seconds, at 30 frames a second.
WITHIN_FRAMES = 125


@pytest.fixture
def finder(request: pytest.FixtureRequest) -> Finder:
    return make_finder(getattr(request, "param", "haar"))


def _tilted(degrees: float, *, number: int = 0) -> Image:
    """A head tilted clockwise by so many degrees."""
    turn = cv2.getRotationMatrix2D(MIDDLE, -degrees, 1.0)
    upright = scene([(*MIDDLE, SIDE)], number=number)
    return np.asarray(cv2.warpAffine(upright, turn, SIZE, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _is_there(face: Face) -> bool:
    return face.box.iou(Box.at(*MIDDLE, SIDE, SIDE)) >= 0.5


@with_both
@pytest.mark.parametrize("degrees", [-20, -16, 16, 20])
def test_a_tilted_face_of_a_picture_that_stands_alone_is_found(finder: Finder, degrees: float) -> None:
    still = frame(_tilted(degrees))
    still.is_still = True
    assert [_is_there(face) for face in Tracker(finder).faces(still)] == [True]


@pytest.mark.parametrize("degrees", [-18, 18])
def test_tilted_faces_of_pictures_that_stand_alone_one_by_one_are_found(finder: Finder, degrees: float) -> None:
    """As of a camera that is asked once a minute: its first picture might be the first of a video."""
    tracker = Tracker(finder)
    tracker.faces(frame(scene([]), 0, 0.0))
    assert [_is_there(face) for face in tracker.faces(frame(_tilted(degrees), 1, 60.0))] == [True]


@with_both
@pytest.mark.parametrize("degrees", [-16, 16])
def test_somebody_who_comes_up_with_a_tilted_head_is_found(finder: Finder, degrees: float) -> None:
    tracker = Tracker(finder)
    found = [tracker.faces(frame(scene([], number=number), number)) for number in range(5)]
    assert not any(found)
    found = [tracker.faces(frame(_tilted(degrees, number=number), number)) for number in range(5, 5 + WITHIN_FRAMES)]
    assert [_is_there(face) for face in found[-1]] == [True]


@with_both
def test_a_head_that_tilts_to_one_side_and_then_to_the_other_keeps_its_number(finder: Finder) -> None:
    tracker, angles = Tracker(finder), 24 * np.sin(np.linspace(0, 2 * np.pi, 120))
    found = [tracker.faces(frame(_tilted(angle, number=number), number)) for number, angle in enumerate(angles)]
    assert sum(map(len, found)) >= 0.95 * len(angles)
    assert all(_is_there(face) for faces in found for face in faces)
    assert len({face.track for faces in found for face in faces}) == 1


@pytest.mark.parametrize("degrees", [-18.0, 18.0, 90.0])
def test_what_is_found_in_a_turned_picture_is_told_where_it_was(degrees: float) -> None:
    picture = np.zeros((60, 100), np.uint8)
    picture[10:15, 80:85] = 255
    upright = Upright.of(picture, degrees)
    assert upright.picture.sum() > 0.9 * picture.sum(), "all of the picture is there"
    rows, columns = np.nonzero(upright.picture > 127)
    box = upright.box(Box.at(columns.mean(), rows.mean(), 8, 6))
    assert box.centre == pytest.approx((82, 12), abs=0.5)
    assert (box.width, box.height) == (8, 6)

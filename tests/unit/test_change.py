"""What is news in a frame, and what is no longer: places that change for ever are searched ever more rarely."""

from __future__ import annotations

import numpy as np
import pytest

from edge_face_detection.faces.change import ChangeWatch, Region
from edge_face_detection.faces.detector import Finder
from edge_face_detection.faces.tracker import Tracker
from tests.support.scenes import SIZE, frame, make_finder, scene, with_both

WIDTH, HEIGHT = SIZE
HAND, DOOR = (20, 20), (WIDTH - 80, HEIGHT - 80)
PATCH = 60


@pytest.fixture
def finder(request: pytest.FixtureRequest) -> Finder:
    return make_finder(request.param)


class Search:
    """Looks at so many frames a second as the tracker does, and finds no face in the seconds it takes for one."""

    def __init__(self, rate: float = 30, busy: float = 0) -> None:
        self.watch, self.number, self.rate, self.busy = ChangeWatch(), 0, rate, busy

    def look(self, *places: tuple[int, int]) -> list[Region]:
        """The regions that are searched in the next frame, which has light patches at these places."""
        image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
        for x, y in places:
            image[y : y + PATCH, x : x + PATCH] = 200
        shown = frame(image, self.number, self.number / self.rate)
        self.watch.next(shown, shrink=1, spent=0, busy=self.busy)
        if self.number == 0:
            self.watch.searched((0, 0, WIDTH, HEIGHT), found=True)
        self.number += 1
        regions = self.watch.news([])
        for region in regions:
            self.watch.searched(region, found=False)
        return regions

    def wave(self, frames: int) -> int:
        """Somebody waves: the searches of that place."""
        return sum(len(self.look(*[HAND] * (number % 2))) for number in range(frames))


def _is_in(region: Region, place: tuple[int, int]) -> bool:
    x, y, width, height = region
    return x <= place[0] < x + width and y <= place[1] < y + height


def test_what_comes_is_news_once() -> None:
    search = Search()
    assert not search.look()
    (region,) = search.look(HAND)
    assert _is_in(region, HAND)
    assert not any(search.look(HAND) for _ in range(100))


def test_a_place_that_changes_for_ever_is_searched_ever_more_rarely() -> None:
    search = Search()
    assert 3 <= search.wave(60) <= 8
    assert 1 <= search.wave(100) <= 4


def test_a_place_waits_as_long_with_few_frames_a_second() -> None:
    search = Search(rate=5)
    search.wave(50)
    assert 8 <= search.wave(60) <= 12


def test_what_looking_takes_is_no_reason_to_look_more() -> None:
    search = Search(rate=5, busy=0.19)
    assert 3 <= search.wave(60) <= 8
    assert 1 <= search.wave(100) <= 4


def test_it_does_not_hide_what_comes_elsewhere() -> None:
    search = Search()
    search.wave(99)
    assert any(_is_in(region, DOOR) for region in search.look(DOOR))


def test_a_place_that_was_calm_begins_anew() -> None:
    search = Search()
    search.wave(99)
    # What was shown last may be news still.
    for _ in range(100):
        search.look()
    assert search.look(HAND)
    assert search.wave(4)


@with_both
@pytest.mark.parametrize(("rate", "within"), [(30, 10), (5, 4)])
def test_somebody_who_comes_in_beside_a_lamp_that_flickers_is_found_soon(
    finder: Finder, rate: int, within: int
) -> None:
    tracker, place = Tracker(finder), (230.0, 120.0, 70.0)
    for number in range(90 + within):
        image = scene([place] * (number >= 90), number=number)
        image[40:200, 10:90] = 60 + 120 * (number % 2)
        found = tracker.faces(frame(image, number, number / rate))
    assert len(found) == 1

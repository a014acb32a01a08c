"""From frames to events: every face of each frame, or the best of each track."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_face_detection.faces.haar import HaarFinder
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.pictures.cutter import FaceCutter
from edge_face_detection.sources.frame import Image, Jpeg, UnreadableFrameError, to_bgr
from face_messages import FaceEvent
from tests.support.scenes import frame, scene

PICTURE = scene([(160, 120, 70)])
BLURRED = np.asarray(cv2.GaussianBlur(PICTURE, (0, 0), 1.5), np.uint8)
EMPTY = scene([])


def _cutter(*, min_sharpness: float = 0, best_seconds: float | None = None) -> FaceCutter:
    tracker = Tracker(HaarFinder(), patience=3)
    options = {"min_sharpness": min_sharpness, "best_seconds": best_seconds}
    return FaceCutter(tracker, edge_id="e", camera_id="c", margin=0.1, **options)  # type: ignore[arg-type]  # both fit


def _shape(png: bytes) -> tuple[int, ...]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return tuple(image.shape)


def _events(cutter: FaceCutter, count: int = 5) -> list[FaceEvent]:
    return [event for number in range(count) for event, _ in cutter.faces_in(frame(PICTURE, number))]


def test_every_face_of_each_frame_is_an_event_with_its_track() -> None:
    cutter = _cutter()
    events = _events(cutter)
    assert [event.frame for event in events] == [0, 1, 2, 3, 4]
    assert len({event.track for event in events}) == 1
    assert events[0].track
    assert cutter.finish() == []


def test_tracks_of_two_runs_are_not_mixed_up() -> None:
    assert _events(_cutter())[0].track != _events(_cutter())[0].track


def test_the_picture_is_the_face_with_its_margin() -> None:
    ((event, png),) = _cutter().faces_in(frame(PICTURE))
    assert event.facebox is not None
    _, _, width, height = event.facebox
    assert _shape(png) == (height + 2 * round(0.1 * height), width + 2 * round(0.1 * width), 3)


def test_of_a_track_the_best_picture_is_an_event_once_it_has_ended() -> None:
    cutter = _cutter(best_seconds=60)
    pictures = [BLURRED, BLURRED, PICTURE, BLURRED, *[EMPTY] * 8]
    found = [cutter.faces_in(frame(picture, number)) for number, picture in enumerate(pictures)]
    ((event, _),) = [each for faces in found for each in faces]
    assert event.frame == 2
    assert cutter.finish() == []


def test_the_best_of_tracks_that_have_not_ended_comes_at_the_end() -> None:
    cutter = _cutter(best_seconds=60)
    assert _events(cutter) == []
    ((event, png),) = cutter.finish()
    assert event.track
    assert _shape(png)[2] == 3


def test_blurred_faces_are_passed_over() -> None:
    cutter = _cutter(min_sharpness=0.2)
    assert cutter.faces_in(frame(BLURRED, 0)) == []
    assert len(cutter.faces_in(frame(PICTURE, 1))) == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_a_camera_sends_faces_are_cut_out_of_it_or_it_is_unreadable(data: st.DataObject) -> None:
    """Sizes change in mid-stream, there is grey and alpha, JPEGs are damaged and cut off, the clock runs backwards."""
    cutter = _cutter(best_seconds=data.draw(st.sampled_from([None, 0.5])))
    for number in range(data.draw(st.integers(2, 8))):
        size = data.draw(st.sampled_from([(320, 240), (320, 240), (1, 240), (320, 1), (97, 61)]))
        image = scene([(size[0] / 2, size[1] / 2, min(size) / 3)], size=size)
        picture: Image | Jpeg = image
        kind = data.draw(st.sampled_from(["plain", "grey", "alpha", "jpeg", "damaged"]))
        try:
            if kind == "grey":
                picture = to_bgr(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
            elif kind == "alpha":
                picture = to_bgr(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA))
            elif kind != "plain":
                content = bytearray(cv2.imencode(".jpg", image)[1].tobytes())
                for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4 * (kind == "damaged"))):
                    content[at] = data.draw(st.integers(0, 255))
                picture = Jpeg(
                    bytes(content[: data.draw(st.integers(2, len(content)))] if kind == "damaged" else content)
                )
            found = cutter.faces_in(frame(picture, number, data.draw(st.floats(-1e6, 1e6))))
        except (ValueError, UnreadableFrameError):
            assert kind == "damaged"
            continue
        for event, png in found:
            assert event.facebox is not None
            assert event.framesize is not None
            x, y, width, height = event.facebox
            assert 0 <= x < x + width <= event.framesize[0]
            assert 0 <= y < y + height <= event.framesize[1]
            assert _shape(png)[2] == 3
    cutter.finish()

"""A camera on its side or upside down: what looks at a frame sees the turned picture, and nothing of the other."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge_face_detection.faces.detector import Box
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.pictures.mask import Mask
from edge_face_detection.settings import DetectorSettings
from edge_face_detection.sources.frame import Frame, Image, Jpeg
from face_messages.service.settings import SettingsError
from tests.support.scenes import box, frame, make_finder, scene

UPRIGHT = scene([(100, 110, 80)])
#: What each turn is undone by.
COUNTER = {0: None, 90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
DEGREES = pytest.mark.parametrize("degrees", list(COUNTER))


def _jpeg(picture: Image) -> Jpeg:
    return Jpeg(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


FORMS = pytest.mark.parametrize("form", [lambda picture: picture, _jpeg], ids=["decoded", "jpeg"])
Form = Callable[[Image], Image | Jpeg]


def _as_the_camera_hangs(degrees: int, form: Form, number: int = 0) -> Frame:
    """The upright scene as such a camera sees it, turned back."""
    code = COUNTER[degrees]
    seen = UPRIGHT if code is None else np.asarray(cv2.rotate(UPRIGHT, code), np.uint8)
    turned = frame(form(seen), number, number / 30)
    turned.turn(degrees)
    return turned


@DEGREES
@FORMS
def test_the_picture_its_size_and_each_view_are_turned(degrees: int, form: Form) -> None:
    turned = _as_the_camera_hangs(degrees, form)
    assert turned.size == (320, 240)
    region = (60, 70, 120, 80)
    for size, grey in (((120, 80), False), ((60, 40), True), ((30, 20), True)):
        expected = frame(UPRIGHT).view(region, size, grey=grey)
        assert np.abs(turned.view(region, size, grey=grey).astype(int) - expected).mean() < 12
    assert turned.glance((32, 24), shrink=4).shape == (24, 32)
    assert np.abs(turned.image.astype(int) - UPRIGHT).mean() < 3


@DEGREES
@FORMS
def test_a_face_is_found_where_it_is_in_the_turned_picture(degrees: int, form: Form) -> None:
    tracker = Tracker(make_finder("haar"), min_face_size=40, max_side=640)
    found = [tracker.faces(_as_the_camera_hangs(degrees, form, number)) for number in range(10)]
    (face,) = found[-1]
    assert Box(face.x, face.y, face.width, face.height).iou(box(100, 110, 80)) > 0.5


@DEGREES
@FORMS
def test_a_mask_lies_in_the_turned_picture(degrees: int, form: Form) -> None:
    turned = _as_the_camera_hangs(degrees, form)
    turned.hide(Mask("0,0 0.5,0 0.5,1 0,1").paint)
    for picture in (turned.image, turned.view((0, 0, 320, 240), (320, 240), grey=False)):
        assert (picture[:, :160] == 128).all()
        assert (picture[:, 170:] != 128).any()


@FORMS
def test_turns_add_up(form: Form) -> None:
    """As of a recording that says that it is turned, from a camera that hangs on its side."""
    turned = frame(form(UPRIGHT))
    for degrees, size in ((90, (240, 320)), (0, (240, 320)), (90, (320, 240)), (180, (320, 240))):
        turned.turn(degrees)
        assert turned.size == size
    assert np.abs(turned.image.astype(int) - UPRIGHT).mean() < 3


def _load(monkeypatch: pytest.MonkeyPatch, rotate: str) -> DetectorSettings:
    for name, value in {"EDGE_ID": "tx2", "MQTT_URL": "mqtt://broker", "VIDEO_ROTATE": rotate}.items():
        monkeypatch.setenv(name, value)
    return DetectorSettings.load()


@pytest.mark.parametrize(("text", "degrees"), [("", 0), ("0", 0), ("90", 90), ("180", 180), ("270", 270)])
def test_right_angles_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, text: str, degrees: int) -> None:
    assert _load(monkeypatch, text).video_rotate == degrees


@pytest.mark.parametrize("text", ["-90", "45", "360", "90.0", "90°", "left", "1"])
def test_other_angles_are_refused_and_the_right_ones_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(SettingsError, match=r"VIDEO_ROTATE: must be 0, 90, 180 or 270\. VIDEO_ROTATE is"):
        _load(monkeypatch, text)

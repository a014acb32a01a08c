"""Motion-JPEG as cameras send it: with boundaries, types and lengths that are wrong, missing, or oddly written."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge_face_detection.sources import multipart
from edge_face_detection.sources.multipart import NoPictureError, Parts
from tests.support.mjpeg import greys, jpeg

PICTURES = greys()[:4]
NOISE = [
    jpeg(np.random.default_rng(seed).integers(0, 255, (120, 160, 3), np.uint8))  # has all bytes in it
    for seed in range(3)
]


def _reader(stream: bytes, step: int) -> Callable[[], bytes]:
    chunks = iter([stream[at : at + step] for at in range(0, len(stream), step)])
    return lambda: next(chunks, b"")


def _parts(stream: bytes, boundary: str = "frame", *, step: int = 1000) -> list[bytes]:
    return list(Parts(_reader(stream, step), boundary))


def _stream(head: str, pictures: list[bytes], tail: str = "\r\n") -> bytes:
    return b"".join(head.format(len(p)).encode() + p + tail.encode() for p in pictures)


FULL = "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
FORMS = {
    "by the book": ("frame", FULL, "\r\n"),
    "quoted boundary": ('"frame"', FULL, "\r\n"),
    "boundary with dashes in the header": ("--frame", FULL, "\r\n"),
    "boundary with too many dashes in the body": ("frame", "------frame\r\nContent-Type: image/jpeg\r\n\r\n", "\r\n"),
    "boundary without dashes": ("frame", "frame\r\nContent-Type: image/jpeg\r\n\r\n", "\r\n"),
    "boundary of other words": ("frame", "--picture\r\nContent-Type: image/jpeg\r\n\r\n", "\r\n"),
    "boundary that no header names": ("", "--frame\r\nContent-Type: image/jpeg\r\n\r\n", "\r\n"),
    "no length": ("frame", "--frame\r\nContent-Type: image/jpeg\r\n\r\n", "\r\n"),
    "image/jpg": ("frame", "--frame\r\nContent-Type: image/jpg\r\nContent-Length: {}\r\n\r\n", "\r\n"),
    "no type": ("frame", "--frame\r\nContent-Length: {}\r\n\r\n", "\r\n"),
    "no header": ("frame", "--frame\r\n\r\n", "\r\n"),
    "no blank line": ("frame", "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n", "\r\n"),
    "LF only": ("frame", "--frame\nContent-Type: image/jpeg\nContent-Length: {}\n\n", "\n"),
    "LF only, no length": ("frame", "--frame\nContent-Type: image/jpeg\n\n", "\n"),
    "no line end before the boundary": ("frame", FULL, ""),
    "no line end before the boundary, no length": ("frame", "--frame\r\n\r\n", ""),
    "length 0": ("frame", "--frame\r\nContent-Length: 0\r\n\r\n", "\r\n"),
    "length too small": ("frame", "--frame\r\nContent-Length: 20\r\n\r\n", "\r\n"),
    "length too large": ("frame", "--frame\r\nContent-Length: 5{:04}\r\n\r\n", "\r\n"),
    "length absurd": ("frame", "--frame\r\nContent-Length: 999999999999\r\n\r\n", "\r\n"),
    "length no number": ("frame", "--frame\r\nContent-Length: many\r\n\r\n", "\r\n"),
    "other case": ("frame", "--frame\r\ncontent-type:image/jpeg\r\nCONTENT-LENGTH:{}\r\n\r\n", "\r\n"),
    "other headers": ("frame", "--frame\r\nX-Timestamp: 1.5\r\nContent-Length: {}\r\nX-A: b\r\n\r\n", "\r\n"),
    "two lines between": ("frame", FULL, "\r\n\r\n"),
    "no boundary at all": ("", "", ""),
    "a boundary that never comes": ("frame", "", ""),
    "a short boundary": ("a", "--a\r\nContent-Type: image/jpeg\r\n\r\n", "\r\n"),
}


@pytest.mark.parametrize("step", [1, 7, 1460, 10**6])
@pytest.mark.parametrize("form", FORMS)
def test_pictures_are_found(form: str, step: int) -> None:
    boundary, head, tail = FORMS[form]
    for pictures in (PICTURES, NOISE):
        stream = _stream(head, pictures, tail)
        if step > 1 or len(stream) < 10000:
            assert _parts(stream, boundary, step=step) == pictures


@pytest.mark.parametrize("begin", ["", "\r\n", "a word before\r\n", "Content-Type: image/jpeg\r\n\r\n"])
@pytest.mark.parametrize("head", [FULL, "--frame\r\nContent-Type: image/jpeg\r\n\r\n"])
def test_the_first_part_may_have_no_boundary_line_or_something_before_it(begin: str, head: str) -> None:
    rest = _stream(head, PICTURES[1:])
    assert _parts(begin.encode() + PICTURES[0] + b"\r\n" + rest) == PICTURES
    assert _parts(begin.encode() + rest) == PICTURES[1:]


@pytest.mark.parametrize("head", ["--frame\r\n\r\n", FULL, ""])
def test_a_preview_within_a_picture_does_not_end_it(head: str) -> None:
    """EXIF data hold a smaller JPEG, with an end of its own."""
    small, large = PICTURES[0], NOISE[0]
    exif = b"Exif\0\0" + small
    with_preview = large[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + large[2:]
    assert _parts(_stream(head, [with_preview] * 3)) == [with_preview] * 3


def test_a_second_picture_in_a_part_is_passed_over() -> None:
    """As some cameras append a preview (CIPA DC-007)."""
    stream = b"".join(b"--frame\r\n\r\n" + NOISE[0] + PICTURES[0] + b"\r\n" for _ in range(3))
    assert _parts(stream) == [NOISE[0]] * 3


def test_a_picture_is_given_as_soon_as_it_is_complete() -> None:
    """Not when the next one comes, which may be in a minute."""
    for head in (FULL, "--frame\r\n\r\n", "--frame\r\nContent-Length: 7\r\n\r\n", ""):
        chunks: list[bytes] = []
        parts = iter(Parts(lambda chunks=chunks: chunks.pop(0), "frame"))  # type: ignore[misc] # an empty list raises
        for picture in PICTURES:
            chunks.append(head.format(len(picture)).encode() + picture)
            assert next(parts) == picture


def test_a_picture_that_is_cut_ends_at_the_boundary() -> None:
    """What is left of it, and then the next ones."""
    cut = NOISE[0][:3000]
    for head in (FULL, "--frame\r\n\r\n"):
        assert _parts(_stream(head, [cut, *PICTURES])) == [cut, *PICTURES]
    assert _parts(_stream("", [cut, *PICTURES], "")) == [cut, *PICTURES]


def test_a_picture_may_be_filled_up_with_zeros() -> None:
    padded = [picture + bytes(1000) for picture in PICTURES]
    assert _parts(_stream(FULL, padded)) == padded


def test_parts_that_are_no_jpegs_are_given_as_they_are() -> None:
    """PNGs among them can be read, and of others it is known that they came."""
    png = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    others = [png, b"<html>", PICTURES[0], b"{}"]
    assert _parts(_stream("--frame\r\nContent-Type: x/y\r\n\r\n", [*others, PICTURES[1]])) == [*others, PICTURES[1]]


def test_what_ends_within_a_picture_gives_none() -> None:
    assert _parts(b"") == []
    assert _parts(_stream(FULL, PICTURES)[:-20]) == PICTURES[:-1]


@pytest.mark.parametrize(
    ("begin", "why"),
    [
        (b"<html>", "there is no JPEG in its stream"),
        (b"--frame\r\nContent-Type: text/plain\r\n\r\n", "there is no JPEG"),
        (b"\xff\xd8\xff\xda\0\2", "a picture of more than"),
        (b"--frame\r\nContent-Length: 30000000\r\n\r\n\xff\xd8\xff\xda\0\2", "a picture of more than"),
        (b"--frame\r\n\r\n\xff\xd8\xff\xe1\xff\xff", "a picture of more than"),
    ],
)
def test_what_has_no_end_is_bounded(monkeypatch: pytest.MonkeyPatch, begin: bytes, why: str) -> None:
    monkeypatch.setattr(multipart, "MAX_PICTURE_BYTES", 2**20)
    monkeypatch.setattr(multipart, "_MAX_OTHER_BYTES", 2**20)
    chunks = itertools.chain([begin], itertools.repeat(b"all is well\n" * 5000))
    with pytest.raises(NoPictureError, match=why):
        list(Parts(lambda: next(chunks), "frame"))


def test_whatever_comes_is_read_without_harm() -> None:
    stream = _stream(FULL, [*PICTURES, *NOISE])
    noise = np.random.default_rng(3)
    for _ in range(200):
        damaged = bytearray(stream)
        for at in noise.integers(0, len(damaged), 20):
            damaged[at] = int(noise.integers(256))
        del damaged[int(noise.integers(len(damaged))) :][: int(noise.integers(500))]
        _parts(bytes(damaged), step=int(noise.integers(1, 5000)))

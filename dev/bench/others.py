"""Faces of many people in composed scenes: the program beside plain calls of OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dev.bench import best
from dev.bench.composed import Still, stills, video
from dev.bench.detecting import cascade_calls, frame, make_finder, naive_calls, network_calls
from dev.bench.measure import BenchmarkError
from dev.bench.truth import Score, TrueFace, judge_frames, labelled
from dev.bench.walks import walks
from dev.stack.figures import Table
from edge_face_detection.faces.detector import Box
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.sources.frame import Image

__all__ = ["Method", "ours", "plain", "run"]

_STILLS, _VIDEOS, _FRAMES, _RATE = 100, 12, 75, 30
# Plain calls look at every third frame only, as recall and precision need no more.
_EACH = 3

Method = Callable[[Sequence[Image], bool, int], list[list[Box]]]
"""Boxes in each picture of a row, which stand alone or are a video, of faces from that side up."""


def run(clips: Path, half: str) -> list[Table]:
    """Judges each method on the people of one half of the clips. Raises BenchmarkError."""
    if "YUNET_MODEL" not in os.environ:
        raise BenchmarkError("composed scenes need YUNET_MODEL: YuNet cuts the faces out of the clips")
    methods: dict[str, Method] = {
        "naive": plain(naive_calls()),
        "one call of the cascade alt2 (1.2, 3)": plain(cascade_calls("haarcascade_frontalface_alt2.xml", 1.2, 3)),
        "DETECTOR=haar": ours("haar"),
        "one call of YuNet (0.6)": plain(network_calls(0.6)),
        "DETECTOR=yunet": ours("yunet"),
    }
    pictures = list(stills(clips, half, count=_STILLS))
    videos = [video(clips, half, frames=_FRAMES, seed=seed) for seed in range(_VIDEOS)]
    rows = []
    for name, method in methods.items():
        cells = [_stills(method, pictures, smallest) for smallest in (40, 20)]
        rows.append([name, *cells, *_video(method, videos, every=1 if name.startswith("DETECTOR") else _EACH)])
    about = (
        f"Half {half!r} of the people in {clips}: {_STILLS} stills, {_VIDEOS} videos of {_FRAMES} frames, 640x480."
        " Recall, precision, one to one at IoU 0.5."
    )
    header = ["", "stills, from 40 pixels", "from 20", "videos", "found after, frames (median, p95)", "CPU ms a frame"]
    walked = list(walks(clips, half))
    return [Table("Other people's faces", about, header, rows), *best.run(walked, half)]


def _stills(method: Method, pictures: Sequence[Still], smallest: int) -> str:
    found = [method([still.image], False, smallest)[0] for still in pictures]
    return _told(judge_frames(found, [_truth(still, smallest) for still in pictures], smallest=smallest))


def _video(method: Method, videos: Sequence[Sequence[Still]], *, every: int) -> list[str]:
    score, seconds, frames = Score(), 0.0, 0
    for shown in (whole[::every] for whole in videos):
        began = time.process_time()
        found = method([still.image for still in shown], True, 40)
        seconds, frames = seconds + time.process_time() - began, frames + len(shown)
        score += judge_frames(found, [_truth(still, 40) for still in shown], smallest=40)
    delays = f"{score.delay(0.5):.0f}, {score.delay(0.95):.0f}" if every == 1 else ""
    return [_told(score), delays, f"{seconds / frames * 1000:.1f}"]


def _told(score: Score) -> str:
    return f"{score.recall:.3f}, {score.precision:.3f}"


def _truth(still: Still, smallest: int) -> list[TrueFace]:
    size = still.image.shape[1], still.image.shape[0]
    counts = labelled([face.box for face in still.faces], size, smallest=smallest)
    return [TrueFace(face.box, face.person, one.counts) for face, one in zip(still.faces, counts, strict=True)]


def plain(look: Callable[[Image], Sequence[Any]]) -> Method:
    """Each picture by itself; a find begins with its box."""
    return lambda images, _is_video, _smallest: [[Box(*map(float, row[:4])) for row in look(image)] for image in images]


def ours(name: str) -> Method:
    """The program's tracker with one of its detectors."""
    finder = make_finder(name)

    def look(images: Sequence[Image], is_video: bool, smallest: int) -> list[list[Box]]:
        # A day between stills: none says anything about the next.
        tracker, step = Tracker(finder, min_face_size=smallest), 1 / _RATE if is_video else 86400.0
        frames = (frame(image, number, number * step, is_still=not is_video) for number, image in enumerate(images))
        return [[face.box for face in tracker.faces(each)] for each in frames]

    return look

"""What it costs to find and cut out faces, and how well they are found, beside the loop that nearly every example has.

Each method has a process of its own for each run. The generated clips (scenes.py) bring their truth; that of others is
in a file of labels beside them, or else what YuNet says of each whole frame.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from dev.bench.films import FULL_FILMS, QUICK_FILMS, SMALLEST, Film, generated, given
from dev.bench.measure import QUICK, BenchmarkError, Figures, Scale, Table, by_turns, middle, ratio
from dev.bench.truth import Score, judge_frames
from dev.stack.programs import make_program
from dev.stack.stack import DETECTOR
from edge_face_detection.faces.detector import Box

NAMES = {
    "decode": "decoding alone, in colour",
    "decode_half": "decoding alone, in grey at half size",
    "naive": "naive loop",
    "haar": "DETECTOR=haar",
}
if "YUNET_MODEL" in os.environ:
    NAMES["yunet"] = "DETECTOR=yunet"
FINDERS = [method for method in NAMES if not method.startswith("decode")]

_PATIENCE_SECONDS = 600


@dataclass(slots=True)
class Measured:
    """A method's runs on a film, and how well it did; the same each time."""

    runs: list[Figures]
    score: Score


def run(scale: Scale, folder: Path, clips: list[Path]) -> list[Table]:
    films = generated(folder, QUICK_FILMS if scale is QUICK else FULL_FILMS)
    scenes = {film.name: _measure(folder, film, rounds=scale.rounds if film is films[0] else 1) for film in films}
    alone = [film for film in films if "one person" in film.name]
    tables = [
        Table(
            title=f"Detector: {films[0].name}",
            about="A Motion-JPEG clip as fast as it goes, one thread: decode, find faces, cut them out, encode each as"
            f" PNG. Rounds by turns: {scale.rounds}; medians, ratios with their range.",
            header=["", *_HEADER],
            rows=[_row([name], method, scenes[films[0].name]) for method, name in NAMES.items()],
            notes=_NOTES,
        ),
        _parts(folder, films[0]),
        Table("Detector: all scenes", "One thread.", ["clip", "", *_HEADER], _rows(scenes)),
        _threads(scenes, {film.name: _measure(folder, film, threads=0) for film in alone}),
    ]
    if clips:
        measured = {clip.name: _measure(folder, given(folder, clip)) for clip in clips}
        tables.append(Table("Detector: given clips", _ABOUT_GIVEN, ["clip", "", *_HEADER], _rows(measured)))
    return tables


_HEADER = [
    "CPU ms/frame",
    "times less than naive",
    "times decoding in colour",
    "recall",
    "precision",
    "found after frames: median",
    "p95",
    "longest loss, frames",
]
_NOTES = [
    "*naive loop*: `read`, grey, `detectMultiScale(grey, 1.3, 5)` with `frontalface_default`, a PNG each.",
    (
        f"Recall and precision one to one at IoU 0.5. Faces below {SMALLEST} pixels, cut by the frame's edge, turned or"
        " tilted far, or hidden, and boxes below that size which are no face's, count neither way."
    ),
    (
        "*found after*: from the first frame that shows a face to the first in which it is found, of each appearance of"
        " at least 10 frames; 0 is at once. *longest loss*: frames in a row in which a face that was found is not."
    ),
]
_ABOUT_GIVEN = (
    "One thread; as Motion-JPEG, which cameras send. The truth is a file of labels beside the clip (clip.mkv.csv:"
    " frame from 0,x,y,width,height), else YuNet on each whole frame at full size from a score of 0.8 on; without"
    " YUNET_MODEL there is none."
)


def _rows(films: dict[str, dict[str, Measured]]) -> list[list[str]]:
    if len(films) > 1:
        films = films | {
            "all together": {method: _pooled([film[method] for film in films.values()]) for method in NAMES}
        }
    return [_row([name, NAMES[method]], method, film) for name, film in films.items() for method in FINDERS]


def _row(names: list[str], method: str, film: dict[str, Measured]) -> list[str]:
    runs, score = film[method].runs, film[method].score
    return [
        *names,
        middle(runs, "cpu", 2),
        ratio(film["naive"].runs, runs, "cpu"),
        ratio(runs, film["decode"].runs, "cpu"),
        *([""] * 5 if method not in FINDERS else _quality(score)),
    ]


def _quality(score: Score) -> list[str]:
    loss = max(score.losses, default=math.nan)
    numbers = [(score.recall, 3), (score.precision, 3), (score.delay(0.5), 0), (score.delay(0.95), 0), (loss, 0)]
    return [
        "" if math.isnan(value) else "never" if math.isinf(value) else f"{value:.{digits}f}"
        for value, digits in numbers
    ]


def _pooled(films: Sequence[Measured]) -> Measured:
    frames = sum(film.runs[0]["frames"] for film in films)
    cpu = sum(median(run["cpu"] for run in film.runs) * film.runs[0]["frames"] for film in films)
    return Measured([{"cpu": cpu / frames}], sum((film.score for film in films), Score()))


def _threads(one: dict[str, dict[str, Measured]], default: dict[str, dict[str, Measured]]) -> Table:
    return Table(
        title="Detector: threads",
        about="One, and as many as OpenCV takes by default.",
        header=["clip", "", "threads", "CPU ms/frame", "times less than naive", "frames/s"],
        rows=[
            [
                clip,
                NAMES[method],
                threads,
                middle(films[clip][method].runs, "cpu", 2),
                ratio(films[clip]["naive"].runs, films[clip][method].runs, "cpu"),
                middle(films[clip][method].runs, "rate"),
            ]
            for clip in default
            for threads, films in (("1", one), ("default", default))
            for method in FINDERS
        ],
    )


def _parts(folder: Path, film: Film) -> Table:
    ours = [method for method in FINDERS if method != "naive"]
    told = [detect(folder, film.path, method, 1, "--profile") for method in ours]
    frames = len(told[0]["boxes"])
    return Table(
        title="Detector: where the time goes",
        about=f"CPU ms/frame, {film.name}, one thread, under Python's profiler, which adds to all else.",
        header=["", *(NAMES[method] for method in ours)],
        rows=[[part, *(f"{one['parts'][part] / frames * 1000:.2f}" for one in told)] for part in told[0]["parts"]],
    )


def _measure(folder: Path, film: Film, *, threads: int = 1, rounds: int = 1) -> dict[str, Measured]:
    scores = dict.fromkeys(NAMES, Score())

    def measure(method: str) -> Figures:
        told = detect(folder, film.path, method, threads)
        boxes = [[Box(*box) for box in frame] for frame in told["boxes"]]
        if film.truth is not None and len(boxes) != len(film.truth):
            raise BenchmarkError(f"{film.name}: {method} reads {len(boxes)} frames of {len(film.truth)}: it is damaged")
        if film.truth is not None and method in FINDERS:
            scores[method] = judge_frames(boxes, film.truth, smallest=SMALLEST)
        return {
            "cpu": told["cpu_seconds"] / len(boxes) * 1000,
            "rate": len(boxes) / told["seconds"],
            "frames": len(boxes),
        }

    what = f"detector, {film.name}, threads {threads or 'by default'}"
    runs = by_turns(what, rounds, {method: partial(measure, method) for method in NAMES}, show="cpu")
    return {method: Measured(runs[method], scores[method]) for method in NAMES}


def detect(folder: Path, clip: Path, method: str, threads: int, *further: str) -> dict[str, Any]:
    model = os.environ.get("YUNET_MODEL")
    settings = {"YUNET_MODEL": model} if model else {}
    # FFmpeg decodes with threads of its own.
    settings |= {"OPENCV_FFMPEG_CAPTURE_OPTIONS": f"threads;{threads}"} if threads else {}
    process = make_program(
        DETECTOR,
        settings,
        log=folder / "detecting.log",
        module="dev.bench.detecting",
        arguments=[method, str(threads), str(clip), *further],
        reads=[clip, *([Path(model)] if model else [])],
    )
    with process:
        code = process.wait(_PATIENCE_SECONDS)
    if code != 0:
        raise BenchmarkError(process.describe_end())
    told: dict[str, Any] = json.loads(process.log_text().splitlines()[-1])
    if not told["boxes"]:
        raise BenchmarkError(f"{clip}: no frame could be read")
    return told

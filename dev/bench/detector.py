"""The cost and the quality of finding and cutting out faces, beside the loop that nearly every example has.

Each method has a process of its own for each run. The generated clips (films.py) bring their truth; other clips have a
file of labels beside them, or else the finds of YuNet in each whole frame.

`run_in_image` measures the detector in its image beside itself on this machine: the cost or gain of Alpine, its C
library and its OpenCV, on one film, and of the whole program with outbox and MQTT.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from dev.bench import measure
from dev.bench.films import SMALLEST, Film, generated, given
from dev.bench.traffic import Keeper, broker
from dev.bench.truth import Score, judge_frames
from dev.stack.clip import make_clip
from dev.stack.figures import Table
from dev.stack.pictures import EDGE_ID
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
_COMPARED = ["decode", *FINDERS]

_PATIENCE_SECONDS = 600


@dataclass(slots=True)
class Measured:
    """A method's runs on a film, and its score, which is the same each time."""

    runs: list[measure.Figures]
    score: Score


def run(scale: measure.Scale, folder: Path, clips: list[Path]) -> list[Table]:
    films = list(generated(folder, scale))
    scenes = {film.name: _measure(film, _COMPARED) for film in films[1:]}
    scenes = {films[0].name: _measure(films[0], list(NAMES), rounds=scale.rounds), **scenes}
    alone = [film for film in films if "one person" in film.name]
    about = (
        "A Motion-JPEG clip as fast as it goes, one thread: decode, find faces, cut them out, encode each as"
        f" PNG. Rounds by turns: {scale.rounds}; medians, ratios with their range."
    )
    main = [_row([name], method, scenes[films[0].name]) for method, name in NAMES.items()]
    tables = [
        Table(f"Detector: {films[0].name}", about, ["", *_HEADER], main, _NOTES),
        _parts(folder, films[0]),
        Table("Detector: all scenes", "One thread.", ["clip", "", *_HEADER], _rows(scenes)),
        _threads(scenes, {film.name: _measure(film, FINDERS, threads=0) for film in alone}),
    ]
    given_films = [given(folder, clip) for clip in clips]
    measured = {film.name: _measure(film, _COMPARED) for film in given_films}
    if clips:
        tables.append(Table("Detector: given clips", _ABOUT_GIVEN, ["clip", "", *_HEADER], _rows(measured)))
    return [*tables, _programs([films[0], *given_films], scenes | measured)]


def run_in_image(scale: measure.Scale, folder: Path) -> list[Table]:
    seconds = 2 if scale is measure.QUICK else 20
    clip = folder / "clip.avi"
    frames = make_clip(clip, seconds=seconds)
    film = next(generated(folder, scale))
    whole = "edge_face_detection on the demo's clip, outbox and MQTT included"
    contestants = measure.in_and_out(whole, partial(_whole, clip, frames, "haar"), images=True)
    for method, name in NAMES.items():
        run = partial(_run, film, method, 1, dict.fromkeys(NAMES, Score()))
        contestants |= measure.in_and_out(f"{name}, {film.name}", run, images=True)
    measured = measure.by_turns("images", scale.rounds, contestants, show="cpu")
    names = list(measured)
    rows = [
        [
            inside.rpartition(",")[0],
            measure.middle(measured[inside], "cpu", 2),
            measure.middle(measured[outside], "cpu", 2),
            measure.ratio(measured[inside], measured[outside], "cpu"),
            *measure.cells(measured[inside], 0, "rss"),
            *measure.cells(measured[outside], 0, "rss"),
        ]
        for inside, outside in zip(names[::2], names[1::2], strict=True)
    ]
    about = f"CPU ms a frame, one thread; medians of {scale.rounds} rounds by turns, ratios with their range."
    header = ["", "image", "native", "image of native", "peak RSS, MiB: image", "native"]
    notes = ["Without the start. The two have builds of OpenCV of their own."]
    return [Table("Detector in its image", about, header, rows, notes)]


def _programs(films: list[Film], measured: dict[str, dict[str, Measured]]) -> Table:
    """All that the program does, beside a loop that keeps nothing and sends nothing."""
    rows = []
    used: dict[str, list[tuple[float, float, int]]] = {}
    for film in films:
        runs = measured[film.name]["naive"].runs
        naive, frames = median(run["cpu"] for run in runs), round(runs[0]["frames"])
        for method in (name for name in FINDERS if name != "naive"):
            run = partial(_whole, film.path, frames, method)
            cpu = measure.by_turns(f"program, {film.name}", 1, {method: run}, show="cpu")
            used.setdefault(method, []).append((cpu[method][0]["cpu"], naive, frames))
            rows.append([film.name, *_told(NAMES[method], used[method][-1:])])
    rows += [["all given clips", *_told(NAMES[method], all_[1:])] for method, all_ in used.items() if len(films) > 2]
    header = ["clip", "", "CPU ms/frame", "times less than naive"]
    return Table("Detector: the whole program, with outbox and MQTT", "From its start to its end.", header, rows)


def _told(name: str, used: Sequence[tuple[float, float, int]]) -> list[str]:
    """`used`: CPU ms a frame of a method and of the naive loop, and frames."""
    ours, naive = (sum(one[part] * one[2] for one in used) / sum(one[2] for one in used) for part in range(2))
    return [name, f"{ours:.2f}", f"{naive / ours:.2f}"]


def _whole(clip: Path, frames: int, method: str, folder: Path) -> measure.Figures:
    # More than there are, so that the keeper never stops.
    with broker("edge", folder) as edge, Keeper(edge, folder, count=10**9):
        (folder / clip.name).hardlink_to(clip)  # an image sees this folder alone
        paths = {"OUTBOX_PATH": str(folder / "outbox.db"), "VIDEO_SOURCE": str(folder / clip.name)}
        settings = {"EDGE_ID": EDGE_ID, "MQTT_URL": edge.url, "VIDEO_REALTIME": "false", "DETECTOR": method} | paths
        settings |= {"YUNET_MODEL": os.environ["YUNET_MODEL"]} if method == "yunet" else {}
        process = make_program(DETECTOR, settings, folder)
        with process:
            process.wait_ready(lambda: "started" in process.log_text())
            cpu = measure.CpuMeter(detector=process)
            measure.wait_for_end(process)
            return {"cpu": cpu.per(frames)["cpu_detector"], "rss": measure.mebibytes(process)}


_COSTS = ["CPU ms/frame", "times less than naive", "times decoding in colour"]
_HEADER = [*_COSTS, "recall", "precision", "found after frames: median", "p95", "longest loss, frames"]
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
            "all together": {method: _pooled([film[method] for film in films.values()]) for method in _COMPARED}
        }
    return [_row([name, NAMES[method]], method, film) for name, film in films.items() for method in FINDERS]


def _row(names: list[str], method: str, film: dict[str, Measured]) -> list[str]:
    runs, score = film[method].runs, film[method].score
    return [
        *names,
        measure.middle(runs, "cpu", 2),
        measure.ratio(film["naive"].runs, runs, "cpu"),
        measure.ratio(runs, film["decode"].runs, "cpu"),
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
    rows = [
        [
            clip,
            NAMES[method],
            threads,
            measure.middle(films[clip][method].runs, "cpu", 2),
            measure.ratio(films[clip]["naive"].runs, films[clip][method].runs, "cpu"),
            measure.middle(films[clip][method].runs, "rate"),
        ]
        for clip in default
        for threads, films in (("1", one), ("default", default))
        for method in FINDERS
    ]
    header = ["clip", "", "threads", "CPU ms/frame", "times less than naive", "frames/s"]
    return Table("Detector: threads", "One, and as many as OpenCV takes by default.", header, rows)


def _parts(folder: Path, film: Film) -> Table:
    ours = [method for method in FINDERS if method != "naive"]
    told = [_detect(folder, film.path, method, 1, "--profile") for method in ours]
    frames = len(told[0]["boxes"])
    about = f"CPU ms/frame, {film.name}, one thread, under Python's profiler, which adds to all else."
    rows = [[part, *(f"{one['parts'][part] / frames * 1000:.2f}" for one in told)] for part in told[0]["parts"]]
    return Table("Detector: where the time goes", about, ["", *(NAMES[method] for method in ours)], rows)


def _measure(film: Film, methods: list[str], *, threads: int = 1, rounds: int = 1) -> dict[str, Measured]:
    scores = dict.fromkeys(methods, Score())
    what = f"detector, {film.name}, threads {threads or 'by default'}"
    contestants = {method: partial(_run, film, method, threads, scores) for method in methods}
    runs = measure.by_turns(what, rounds, contestants, show="cpu")
    return {method: Measured(runs[method], scores[method]) for method in methods}


def _run(film: Film, method: str, threads: int, scores: dict[str, Score], folder: Path) -> measure.Figures:
    """One run; its score goes into `scores`."""
    told = _detect(folder, film.path, method, threads)
    boxes = [[Box(*box) for box in frame] for frame in told["boxes"]]
    if film.truth is not None and len(boxes) != len(film.truth):
        raise measure.BenchmarkError(
            f"{film.name}: {method} reads {len(boxes)} frames of {len(film.truth)}: it is damaged"
        )
    if film.truth is not None and method in FINDERS:
        scores[method] = judge_frames(boxes, film.truth, smallest=SMALLEST)
    frames = len(boxes)
    return {"cpu": told["cpu_seconds"] / frames * 1000, "rate": frames / told["seconds"], "frames": frames}


def _detect(folder: Path, clip: Path, method: str, threads: int, *further: str) -> dict[str, Any]:
    model = os.environ.get("YUNET_MODEL")
    settings = {"YUNET_MODEL": model} if model else {}
    # FFmpeg decodes with threads of its own.
    settings |= {"OPENCV_FFMPEG_CAPTURE_OPTIONS": f"threads;{threads}"} if threads else {}
    process = make_program(
        DETECTOR,
        settings,
        folder,
        called="detecting",
        module=["dev.bench.detecting", method, str(threads), str(clip), *further],
        reads=[clip, *([Path(model)] if model else [])],
    )
    with process:
        code = process.wait(_PATIENCE_SECONDS)
    if code != 0:
        raise measure.BenchmarkError(process.describe_end())
    told: dict[str, Any] = json.loads(process.log_text().splitlines()[-1])
    if not told["boxes"]:
        raise measure.BenchmarkError(f"{clip}: no frame could be read")
    return told

"""CPU time and frames/s of finding and cutting out faces, beside the loop that nearly every example has."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import BenchmarkError, Figures, Scale, Table, by_turns, middle, ratio
from local_stack.clip import face_boxes, make_clip
from local_stack.processes import ManagedProcess

NAMES = {"decode": "decoding alone", "naive": "naive loop", "haar": "DETECTOR=haar"}
if "YUNET_MODEL" in os.environ:
    NAMES["yunet"] = "DETECTOR=yunet"

_GENERATED_SECONDS = 10
_PATIENCE_SECONDS = 600


def run(scale: Scale, folder: Path, clips: list[Path]) -> list[Table]:
    generated = folder / "generated.avi"
    frames = make_clip(generated, seconds=_GENERATED_SECONDS, fps=scale.fps)
    shown = sum(len(face_boxes(number, fps=scale.fps)) for number in range(frames))
    rows = []
    for clip in [generated, *clips]:
        for threads, named in ((1, "1"), (0, "OpenCV's default")):
            methods = {method: partial(_measure, folder, method, threads, clip) for method in NAMES}
            measured = by_turns(f"detector, {clip.name}, threads {named}", scale.rounds, methods, show="cpu")
            rows += [
                [
                    clip.stem,
                    named,
                    name,
                    middle(measured[method], "cpu", 2),
                    ratio(measured[method], measured["naive"], "cpu"),
                    middle(measured[method], "rate", 1),
                    middle(measured[method], "frames"),
                    middle(measured[method], "faces") if method != "decode" else "",
                ]
                for method, name in NAMES.items()
            ]
    return [
        Table(
            title="Detector",
            about="Each clip as fast as it goes: decode, find faces, cut them out, encode each as PNG;"
            f" medians of {scale.rounds} rounds by turns, ratios with their range.",
            header=["clip", "threads", "", "CPU ms/frame", "of the naive loop's", "frames/s", "frames", "faces found"],
            rows=rows,
            notes=[
                "*naive loop*: `read`, grey, `detectMultiScale(grey, 1.3, 5)` with `frontalface_default`, a PNG each.",
                f"The generated clip (640x480) shows {shown} whole faces; none, one or two at a time.",
            ],
        )
    ]


def _measure(folder: Path, method: str, threads: int, clip: Path) -> Figures:
    env = dict(os.environ)
    if threads:
        # FFmpeg decodes with threads of its own.
        env["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"threads;{threads}"
    args = [sys.executable, "-m", "benchmarks.detecting", method, str(threads), str(clip)]
    process = ManagedProcess(method, args, log=folder / "detecting.log", env=env)
    with process:
        code = process.wait(_PATIENCE_SECONDS)
    if code != 0:
        raise BenchmarkError(process.describe_end())
    told: dict[str, float] = json.loads(process.log_text().splitlines()[-1])
    if not told["frames"]:
        raise BenchmarkError(f"{clip}: no frame could be read")
    return {
        "cpu": told["cpu_seconds"] / told["frames"] * 1000,
        "rate": told["frames"] / told["seconds"],
        "frames": told["frames"],
        "faces": told["faces"],
    }

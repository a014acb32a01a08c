"""The detector in its image beside itself on this machine: what Alpine, its C library and its OpenCV cost or save.

Forwarder, saver, path and outage run in their images as they are. The detector's own benchmark has many films; here it
is one of them, and the whole program with all that it does besides detecting.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from dev.bench import detector
from dev.bench.films import FULL_FILMS, QUICK_FILMS, generated
from dev.bench.keeper import Keeper
from dev.bench.measure import (
    QUICK,
    BenchmarkError,
    CpuMeter,
    Figures,
    Scale,
    Table,
    by_turns,
    in_and_out,
    middle,
    ratio,
)
from dev.bench.traffic import EDGE_ID, broker, program
from dev.stack.clip import make_clip
from dev.stack.stack import DETECTOR

WHOLE = "edge_face_detection on the demo's clip, outbox and MQTT included"
IMAGE, NATIVE = "image", "native"

_FPS = 30
_SECONDS = 20
_PATIENCE_SECONDS = 300
# The clip has one face, later two; each is published.
_COUNTED = 10**9


def run(scale: Scale, folder: Path) -> list[Table]:
    seconds = _SECONDS if scale is not QUICK else 2
    clip = folder / "clip.avi"
    make_clip(clip, seconds=seconds, fps=_FPS)
    size, frames = next(iter((QUICK_FILMS if scale is QUICK else FULL_FILMS).items()))
    (film,) = generated(folder, {size: dict([next(iter(frames.items()))])})
    contestants = in_and_out(WHOLE, lambda: _whole(folder, clip, seconds * _FPS), images=True)
    for method, name in detector.NAMES.items():

        def measure(method: str = method) -> Figures:
            told = detector.detect(folder, film.path, method, 1)
            return {"cpu": told["cpu_seconds"] / len(told["boxes"]) * 1000}

        contestants |= in_and_out(f"{name}, {film.name}", measure, images=True)
    measured = by_turns("images", scale.rounds, contestants, show="cpu")
    names = list(measured)
    rows = [
        [
            inside.rpartition(",")[0],
            middle(measured[inside], "cpu", 2),
            middle(measured[outside], "cpu", 2),
            ratio(measured[inside], measured[outside], "cpu"),
            *(middle(measured[place], "rss") if "rss" in measured[place][0] else "" for place in (inside, outside)),
        ]
        for inside, outside in zip(names[::2], names[1::2], strict=True)
    ]
    return [
        Table(
            title="Detector in its image",
            about=f"CPU ms a frame, one thread; medians of {scale.rounds} rounds by turns, ratios with their range.",
            header=["", "image", "native", "image of native", "peak RSS, MiB: image", "native"],
            rows=rows,
            notes=["Without the start. The two have builds of OpenCV of their own."],
        )
    ]


def _whole(parent: Path, clip: Path, frames: int) -> Figures:
    with (
        TemporaryDirectory(dir=parent) as place,
        broker("edge", Path(place)) as edge,
        Keeper(edge, Path(place), count=_COUNTED),
    ):
        folder = Path(place)
        # An image sees this folder alone.
        (folder / clip.name).hardlink_to(clip)
        process = program(
            DETECTOR,
            folder,
            EDGE_ID=EDGE_ID,
            MQTT_URL=edge.url,
            OUTBOX_PATH=str(folder / "outbox.db"),
            VIDEO_SOURCE=str(folder / clip.name),
            VIDEO_REALTIME="false",
        )
        with process:
            process.wait_ready(lambda: "started" in process.log_text())
            cpu = CpuMeter(detector=process)
            while process.running:
                process.peak_rss_bytes()
                process.wait(0.05)
            if process.poll() != 0:
                raise BenchmarkError(process.describe_end())
            return {"cpu": cpu.per(frames)["cpu_detector"], "rss": process.peak_rss_bytes() / 2**20}

"""Several cameras on one device, a detector each: what each of them costs."""

from __future__ import annotations

import os
import re
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import mean

from dev.bench.measure import Scale, Table, wait_until
from dev.stack.clip import make_clip
from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess
from dev.stack.stack import DETECTOR, FORWARDER, SAVER, LocalStack

_FPS = 30
_CLIP_SECONDS = 10
# The frames' size, and how many cameras of it.
_ROWS = (((640, 480), 1), ((640, 480), 2), ((640, 480), 4), ((1280, 720), 1))
_PATIENCE_SECONDS = 60


class _Camera(ManagedProcess):
    """A detector that sees a clip over and over, at its own pace."""

    def __init__(self, number: int, stack: LocalStack, clip: Path) -> None:
        self._port = free_port()
        settings = {
            "EDGE_ID": stack.edge_id,
            "CAMERA_ID": f"camera{number}",
            "MQTT_URL": stack.edge_broker.url,
            "VIDEO_SOURCE": str(clip),
            "VIDEO_LOOP": "true",
            "OUTBOX_PATH": str(stack.folder / f"camera{number}.db"),
            "METRICS_PORT": str(self._port),
        }
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        log = stack.folder / f"camera{number}.log"
        super().__init__(f"camera{number}", [sys.executable, "-m", DETECTOR], log=log, env=kept | settings)

    def frames(self) -> tuple[int, int]:
        """Looked at, and skipped, since the start; 0 while it is starting."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return 0, 0
        found = re.findall(r"^facedetection_frames_(processed|skipped)_total (\S+)", text, re.MULTILINE)
        counts = {name: int(float(value)) for name, value in found}
        return counts.get("processed", 0), counts.get("skipped", 0)


def run(scale: Scale, folder: Path) -> list[Table]:
    rows = []
    for number, (size, count) in enumerate(_ROWS):
        clip = folder / f"{size[0]}x{size[1]}.avi"
        if not clip.exists():
            make_clip(clip, seconds=_CLIP_SECONDS, fps=_FPS, size=size)
        print(f"cameras: {count} of {size[0]}x{size[1]}", file=sys.stderr, flush=True)
        rows.append(
            [f"{count} of {clip.stem}", *_measure(count, clip, folder / str(number), seconds=scale.seconds / 3)]
        )
    return [
        Table(
            title="Cameras",
            about=f"Each a detector of its own, with the generated clip at {_FPS} frames/s; brokers, forwarder, saver"
            " and store run beside them. CPU is the mean of a camera, the peak the highest of one.",
            header=["cameras", "CPU ms a frame", "% of a core", "peak, MiB", "frames skipped"],
            rows=rows,
        )
    ]


def _measure(count: int, clip: Path, folder: Path, *, seconds: float) -> list[str]:
    with LocalStack(folder, programs=(FORWARDER, SAVER)) as stack, ExitStack() as exits:
        cameras = [exits.enter_context(_Camera(number, stack, clip)) for number in range(count)]
        wait_until(
            lambda: all(camera.frames()[0] > _FPS for camera in cameras),
            watched=cameras,
            what="the cameras' first second",
            seconds=_PATIENCE_SECONDS,
        )
        began, before = time.monotonic(), [(camera.cpu_seconds(), camera.frames()) for camera in cameras]
        # As long as the clip or a part of it: what is in it costs more here and less there.
        time.sleep(seconds)
        took, after = time.monotonic() - began, [(camera.cpu_seconds(), camera.frames()) for camera in cameras]
        cpu = [new[0] - old[0] for old, new in zip(before, after, strict=True)]
        seen, skipped = (
            sum(new[1][which] - old[1][which] for old, new in zip(before, after, strict=True)) for which in (0, 1)
        )
        return [
            f"{sum(cpu) / seen * 1000:.1f}",
            f"{mean(cpu) / took * 100:.0f}",
            f"{max(camera.peak_rss_bytes() for camera in cameras) / 2**20:.0f}",
            f"{skipped / (seen + skipped):.1%}",
        ]

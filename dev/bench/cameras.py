"""Several cameras on one device, a detector each, and the cost of each of them."""

import time
from pathlib import Path

from dev.bench.measure import Scale, mebibytes, say, wait_until
from dev.stack.clip import make_clip
from dev.stack.figures import Table
from dev.stack.stack import DETECTOR, FORWARDER, SAVER, LocalStack

_FPS = 30
_CLIP_SECONDS = 10
# The frames' size, and how many cameras of it.
_ROWS = (((640, 480), 1), ((640, 480), 2), ((640, 480), 4), ((1280, 720), 1))


def run(scale: Scale, folder: Path) -> list[Table]:
    rows = []
    for number, (size, count) in enumerate(_ROWS):
        clip = folder / f"{size[0]}x{size[1]}.avi"
        if not clip.exists():
            make_clip(clip, seconds=_CLIP_SECONDS, fps=_FPS, size=size)
        say(f"cameras: {count} of {size[0]}x{size[1]}")
        figures = _measure(count, clip, folder / str(number), seconds=scale.seconds / 3)
        rows.append([f"{count} of {clip.stem}", *figures])
    about = (
        f"Each a detector of its own, with the generated clip at {_FPS} frames/s; brokers, forwarder, saver"
        " and store run beside them. CPU is the mean of a camera, the peak the highest of one."
    )
    header = ["cameras", "CPU ms a frame", "% of a core", "peak, MiB", "frames skipped"]
    return [Table("Cameras", about, header, rows)]


def _measure(count: int, clip: Path, folder: Path, *, seconds: float) -> list[str]:
    with LocalStack(folder, programs=(FORWARDER, SAVER)) as stack:
        # Each sees the clip over and over, at its own pace.
        source = {"VIDEO_SOURCE": str(clip), "VIDEO_LOOP": "true"}
        names = [f"camera{number}" for number in range(count)]
        cameras = [stack.add_program(DETECTOR, {"CAMERA_ID": name, **source}, called=name) for name in names]
        for camera in cameras:
            camera.start()

        def frames(kind: str) -> list[float]:
            """Of each camera; 0 while it is starting."""
            return [stack.metrics(camera.name).get(f"facedetection_frames_{kind}_total", 0) for camera in cameras]

        def totals() -> tuple[float, float, float]:
            """CPU seconds, frames looked at and frames skipped of all cameras, since their start."""
            return sum(camera.cpu_seconds() for camera in cameras), sum(frames("processed")), sum(frames("skipped"))

        what = "the cameras' first second"
        wait_until(lambda: min(frames("processed")) > _FPS, watched=cameras, what=what, seconds=60)
        began, before = time.monotonic(), totals()
        # As long as the clip or a part of it: its content costs more in some places than in others.
        time.sleep(seconds)
        took, after = time.monotonic() - began, totals()
        cpu, seen, skipped = (new - old for old, new in zip(before, after, strict=True))
        return [
            f"{cpu / seen * 1000:.1f}",
            f"{cpu / count / took * 100:.0f}",
            f"{max(map(mebibytes, cameras)):.0f}",
            f"{skipped / (seen + skipped):.1%}",
        ]

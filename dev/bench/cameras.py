"""Several cameras on one device, a detector each, and the cost of each of them."""

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import mean

from dev.bench.measure import Scale, mebibytes, say, wait_until
from dev.stack.clip import make_clip
from dev.stack.figures import Table
from dev.stack.pictures import EDGE_ID
from dev.stack.ports import free_port
from dev.stack.programs import PythonProcess, read_metrics
from dev.stack.stack import DETECTOR, FORWARDER, SAVER, LocalStack

_FPS = 30
_CLIP_SECONDS = 10
# The frames' size, and how many cameras of it.
_ROWS = (((640, 480), 1), ((640, 480), 2), ((640, 480), 4), ((1280, 720), 1))


class _Camera(PythonProcess):
    """A detector that sees a clip over and over, at its own pace."""

    def __init__(self, name: str, stack: LocalStack, clip: Path) -> None:
        self._port = free_port()
        settings = {"EDGE_ID": EDGE_ID, "CAMERA_ID": name, "VIDEO_SOURCE": str(clip), "VIDEO_LOOP": "true"}
        settings |= {"MQTT_URL": stack.edge_broker.url, "OUTBOX_PATH": str(stack.folder / f"{name}.db")}
        settings |= {"METRICS_PORT": str(self._port)}
        super().__init__(name, [DETECTOR], settings, log=stack.folder / f"{name}.log")

    def figures(self) -> tuple[float, float, float]:
        """CPU seconds, frames looked at and frames skipped, since the start; no frames while it is starting."""
        told = read_metrics(self._port)
        frames = "facedetection_frames_{}_total"
        return self.cpu_seconds(), told.get(frames.format("processed"), 0), told.get(frames.format("skipped"), 0)


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
    with LocalStack(folder, programs=(FORWARDER, SAVER)) as stack, ExitStack() as exits:
        cameras = [exits.enter_context(_Camera(f"camera{number}", stack, clip)) for number in range(count)]
        what = "the cameras' first second"
        wait_until(lambda: all(c.figures()[1] > _FPS for c in cameras), watched=cameras, what=what, seconds=60)
        began, before = time.monotonic(), [camera.figures() for camera in cameras]
        # As long as the clip or a part of it: its content costs more in some places than in others.
        time.sleep(seconds)
        took, after = time.monotonic() - began, [camera.figures() for camera in cameras]
        used = [[new - old for old, new in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)]
        cpu, seen, skipped = zip(*used, strict=True)
        return [
            f"{sum(cpu) / sum(seen) * 1000:.1f}",
            f"{mean(cpu) / took * 100:.0f}",
            f"{max(map(mebibytes, cameras)):.0f}",
            f"{sum(skipped) / (sum(seen) + sum(skipped)):.1%}",
        ]

"""A long outage: the cloud's broker is gone while faces come in, and then it is back.

A producer makes 10 faces/s all the time, and during the outage many more, as fast as the forwarder takes them. The
first run has a counter behind the cloud broker, to show the forwarder's own pace; the second the saver and a store.
"""

import shutil
import time
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from dev.bench.measure import BenchmarkError, say, wait_until
from dev.bench.traffic import Keeper
from dev.stack.figures import StoredFace, Table, differences, percentile, stored_faces
from dev.stack.producer import Producer
from dev.stack.stack import FORWARDER, SAVER, LocalStack

_LIVE_RATE, _LIVE_SECONDS = 10, 10
# Faces made and not confirmed: the forwarder sets the pace, so that nothing gathers in the producer.
_AHEAD = 256
# Fewer faces than this wait while live faces alone are on their way.
_FEW = 50
# An empty outbox keeps a smaller file and log than this for later messages, in bytes.
_SMALL = 100 * 1024 * 1024


def run(folder: Path, *, faces: int, size: int, rate: float) -> list[Table]:
    """Meanwhile `faces` of `size` bytes come in, `rate` a second, or 0 for as many as are taken."""
    needed = 3 * faces * size + (1 << 30)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise BenchmarkError(f"{folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} are needed: set TMPDIR")
    # Each in a folder of its own, which gives its gigabytes back.
    with TemporaryDirectory(dir=folder) as own, _Stage(Path(own), faces, size, rate, FORWARDER) as stage:
        stage.fill()
        stage.cloud_broker.start()
        with Keeper(stage.cloud_broker, stage.folder, count=faces) as keeper:
            own_rate = keeper.messages_per_second(watched=[stage.programs[FORWARDER]])
    with TemporaryDirectory(dir=folder) as own, _Stage(Path(own), faces, size, rate, FORWARDER, SAVER) as stage:
        return _to_the_bucket(stage, own_rate)


class _Stage(LocalStack):
    """The path from a producer on, and the figures to watch while it runs."""

    def __init__(self, folder: Path, faces: int, size: int, rate: float, *programs: str) -> None:
        room = {"OUTBOX_MAX_BYTES": str(2 * faces * size + (1 << 28))}
        super().__init__(folder, programs=programs, settings={FORWARDER: room})
        self.faces, self.size = faces, size
        # As slow as the programs may be.
        self._patience = 120 + faces / min(50, rate or 50)
        pace: dict[str, Any] = {"rate": _LIVE_RATE, "burst": faces, "burst_rate": rate, "ahead": _AHEAD}
        self.producer = Producer(self.edge_broker.url, folder, size=size, **pace)
        self.processes.append(self.producer)
        self.largest_outbox = 0

    def __enter__(self) -> Self:
        super().__enter__()
        self.producer.start()
        self.producer.wait_ready(lambda: bool(self.producer.ids()))
        path = (self.edge_broker, self.programs[FORWARDER], self.cloud_broker, self.programs[SAVER], self.s3)
        self.parts = [self.producer, *(part for part in path if part.running)]
        return self

    def waiting(self) -> int:
        """Messages in the forwarder's outbox."""
        return int(self.metrics(FORWARDER)["facedetection_outbox_messages"])

    def outbox_bytes(self) -> int:
        """The forwarder's outbox on disk: the file and its write-ahead log."""
        return sum(file.stat().st_size for file in self.folder.glob(f"{FORWARDER}.outbox*"))

    def rss(self) -> dict[str, int]:
        """Resident memory of each part, in bytes."""
        return {part.name: part.rss_bytes() for part in self.parts}

    def until(self, reached: Callable[[], bool], what: str) -> float:
        """Wait; the seconds that it took."""
        begin = time.monotonic()

        def look() -> bool:
            self.largest_outbox = max(self.largest_outbox, self.outbox_bytes())
            return reached()

        wait_until(look, watched=[part for part in self.parts if part.running], what=what, seconds=self._patience)
        took = time.monotonic() - begin
        say(f"outage: {what} after {took:.1f} s")
        return took

    def fill(self) -> float:
        """The cloud's broker is gone, and faces come in; how many a second."""
        self.cloud_broker.kill()
        self.producer.begin_burst()
        return self.faces / self.until(lambda: self.waiting() >= self.faces, "all wait at the edge")


def _to_the_bucket(stage: _Stage, own_rate: float) -> list[Table]:
    begin = time.monotonic()
    stage.until(lambda: time.monotonic() - begin > _LIVE_SECONDS, "live faces alone")
    before = stage.rss()
    gone_at = time.time()
    fill_rate = stage.fill()
    payload = stage.waiting() * stage.size
    full = stage.rss()
    back_at = time.time()
    stage.cloud_broker.start()
    stage.until(lambda: stage.waiting() < _FEW, "the backlog is in the bucket")
    space_seconds = stage.until(lambda: stage.outbox_bytes() < _SMALL, "the space is given back")
    stage.producer.finish()
    stage.producer.wait(10)
    stage.until(lambda: stage.waiting() == 0, "all is in the bucket")
    objects = stage.s3.objects()
    if problems := differences(stage.producer.ids(), objects):
        raise BenchmarkError("; ".join(problems))
    faces = sorted(stored_faces(objects), key=attrgetter("captured_at"))
    backlog = [face for face in faces if gone_at < face.captured_at < back_at < face.stored_at]
    first, last = min(face.stored_at for face in backlog), max(face.stored_at for face in backlog)
    early = [face for face in faces if face.stored_at < gone_at]
    # Faces from before the first connection are backlog as well.
    live = [face for face in faces if first < face.captured_at < last]
    memory = [
        [name, *(f"{bytes_ / 2**20:.0f}" if bytes_ else "–" for bytes_ in (before[name], full[name], peak))]
        for name, peak in ((part.name, part.peak_rss_bytes()) for part in stage.parts)
    ]
    about_memory = (
        f"{stage.faces:,} faces of {stage.size:,} bytes came in while the cloud was gone: resident memory, MiB."
    )
    of_memory = ["The saver remembers its last 20,000 objects; the S3 server, a stand-in, the metadata of all."]
    rows = [
        ["faces/s into the forwarder's outbox", f"{fill_rate:,.0f}"],
        ["outbox on disk at its fullest, MB", f"{stage.largest_outbox / 1e6:,.0f}"],
        ["of the payload's bytes", f"{stage.largest_outbox / payload:.2f}"],
        ["outbox on disk after the backlog, MB", f"{stage.outbox_bytes() / 1e6:,.1f}"],
        ["seconds until it was so small", f"{space_seconds:.1f}"],
        ["seconds from the broker's return to the first object", f"{first - back_at:.1f}"],
        ["backlog into the bucket, objects/s", f"{len(backlog) / (last - first):,.0f}"],
        ["backlog to a counter, messages/s", f"{own_rate:,.0f}"],
        [f"live faces ({_LIVE_RATE}/s) before, p50 / slowest, ms", _latencies(early)],
        ["live faces beside the backlog, p50 / slowest, ms", _latencies(live)],
        ["places by which a face of the backlog was stored out of turn, at most", f"{_disorder(backlog):,}"],
    ]
    notes = [
        f"All {len(faces):,} faces are in the bucket, each once.",
        "The order of capture is that of the events' times, the order of storing that of the files'.",
        "Before the first object, forwarder and saver wait for their next tries to connect: up to 30 s each.",
    ]
    about = "From the broker's return on, while live faces kept coming."
    header = ["", "before", "at the outage's end", "peak of the run"]
    return [
        Table("Long outage: memory", about_memory, header, memory, of_memory),
        Table("Long outage: the backlog", about, ["", ""], rows, notes),
    ]


def _latencies(faces: list[StoredFace]) -> str:
    seconds = [face.latency_seconds for face in faces]
    return f"{percentile(seconds, 0.5) * 1000:,.0f} / {max(seconds) * 1000:,.0f}"


def _disorder(faces: list[StoredFace]) -> int:
    """The farthest place between the order of storing and that of capture, which is that of `faces`."""
    by_time = sorted(range(len(faces)), key=lambda place: faces[place].stored_at)
    return max(abs(place - rank) for rank, place in enumerate(by_time))

"""Shows the whole path at work on this machine, and checks that each published face is stored."""

from __future__ import annotations

import hashlib
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from dev.stack.clip import PICTURE, make_clip
from dev.stack.figures import differences, percentile, stored_faces
from dev.stack.mosquitto import Mosquitto
from dev.stack.processes import ManagedProcess, ProcessError
from dev.stack.s3 import BUCKET, S3Server
from dev.stack.stack import DETECTOR, FORWARDER, SAVER, Gallery, LocalStack

_MARKER = ".facedetection-demo"
_MARKER_TEXT = "The demo of edge-face-detection made this folder, and empties it at each start.\n"
_KEPT = (_MARKER, "clips")

_LIVE_LINE_SECONDS = 0.5
_PLAIN_LINE_SECONDS = 2.0
# How long to wait after the last face while no further one is stored.
_STANDSTILL_SECONDS = 60.0


class DemoError(ProcessError):
    """The demo cannot run, or a part of it failed; the message is for the person at the terminal."""


def run(*, video: str | None, folder: Path, seconds: float) -> int:
    """Play `video`, by default a generated clip of that many seconds, once through the whole path.

    Returns 0 when each published face is in the bucket exactly once, else 1. Raises ProcessError, or FileNotFoundError
    for a program that is not installed.
    """
    if video is not None and not _is_live(video) and not Path(video).exists():
        others = "give a video, a folder of pictures, a camera's number or a URL"
        raise DemoError(f"{video}: there is no such file; {others}")
    prepare(folder)
    source = video or str(_clip(folder, seconds))
    detector = {"VIDEO_SOURCE": source, "VIDEO_REALTIME": "true", "VIDEO_LOOP": "false"}
    with (
        LocalStack(folder, programs=(SAVER, FORWARDER), settings={DETECTOR: detector}) as stack,
        _Witness(stack) as witness,
        Gallery(folder, stack.s3, mqtt_url=stack.cloud_broker.url) as gallery,
    ):
        stack.start_program(DETECTOR)
        print(f"look at the faces as they come: {gallery.url}", flush=True)
        status = _Demo(stack, witness, gallery).play(live=_is_live(source))
        if sys.stdout.isatty() and not _ends:
            _keep_open(gallery)
        return status


def show(folder: Path) -> int:
    """Open the gallery over the bucket of the last demo, until Ctrl-C. Raises as `run` does."""
    if not (folder / _MARKER).is_file() or not (folder / "buckets" / BUCKET).is_dir():
        raise DemoError(f"{folder} holds no faces of a demo: make demo")
    with (
        S3Server(folder) as s3,
        Mosquitto(folder / "gallery_broker") as broker,
        Gallery(folder, s3, mqtt_url=broker.url) as gallery,
    ):
        _keep_open(gallery)
    return 0


def _keep_open(gallery: Gallery) -> None:
    print(f"the gallery stays open until Ctrl-C: {gallery.url}", flush=True)
    try:
        while gallery.running:
            gallery.wait(1)
        raise DemoError(gallery.describe_end())
    except KeyboardInterrupt:
        _ends.clear()


def prepare(folder: Path) -> None:
    """Make the folder, or empty it if it has the mark of an earlier demo.

    Raises DemoError when the folder is somebody's own.
    """
    marker = folder / _MARKER
    if folder.exists() and not folder.is_dir():
        raise DemoError(f"{folder} is no folder; give --folder another one")
    if folder.exists() and any(folder.iterdir()) and not marker.is_file():
        raise DemoError(f"{folder} is not empty and not the demo's own; give --folder a new or empty one")
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(_MARKER_TEXT)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in _KEPT:
            shutil.rmtree(entry)
        elif entry.name not in _KEPT:
            entry.unlink()


def _is_live(source: str) -> bool:
    return source.isdigit() or source.startswith("/dev/") or "://" in source


def _clip(folder: Path, seconds: float) -> Path:
    # A new clip as soon as its maker or its picture has changed.
    makers = Path(make_clip.__code__.co_filename).read_bytes() + PICTURE.read_bytes()
    clip = folder / "clips" / f"{seconds:g}s-{hashlib.sha256(makers).hexdigest()[:12]}.avi"
    if not clip.exists():
        shutil.rmtree(clip.parent, ignore_errors=True)
        print(f"making a clip of {seconds:g} s ...", flush=True)
        make_clip(clip, seconds=seconds)
    return clip


class _Witness(ManagedProcess):
    """Watches the edge broker, independently of the programs."""

    def __init__(self, stack: LocalStack) -> None:
        if shutil.which("mosquitto_sub") is None:
            raise ProcessError("mosquitto_sub is not installed; dev/scripts/need.sh mosquitto installs it")
        where = ["-h", "127.0.0.1", "-p", str(stack.edge_broker.port), "-t", "facedetection_topic/#"]
        # stdbuf: it buffers its output until the first message, and we wait for its SUBACK.
        args = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-V", "5", "-q", "1", *where, "-F", "id %D"]
        log = stack.folder / "witness.log"
        super().__init__("witness", args, log=log, ready=lambda: "SUBACK" in self.log_text())

    def ids(self) -> set[str]:
        """The ids of the faces that were published."""
        return {line.removeprefix("id ") for line in self.log_text().splitlines() if line.startswith("id ")}


class _Demo:
    """The parts at work, and what has been seen of them."""

    def __init__(self, stack: LocalStack, witness: _Witness, gallery: Gallery) -> None:
        self._stack = stack
        self._witness = witness
        self._parts = [*stack.processes, witness, gallery]
        self._detector = stack.programs[DETECTOR]
        # How far the faces have come: frames, faces, confirmed, stored.
        self._progress: dict[str, int] = {}
        # The frames, the time and the detector's CPU time at each look that saw new frames.
        self._moves: list[tuple[int, float, float]] = []
        self._screen = _Screen()

    def play(self, *, live: bool) -> int:
        stack, detector = self._stack, self._detector
        print(f"faces appear in {stack.s3.folder / BUCKET}{'; Ctrl-C ends it' if live else ''}", flush=True)
        interrupted = False
        with self._screen:
            try:
                while detector.running:
                    self._step()
            except KeyboardInterrupt:
                if not live:
                    raise
                interrupted = True
                _ends.clear()
                detector.terminate()
            if detector.poll() != 0:
                raise DemoError(detector.describe_end())
            self._drain()
            self._screen.show(self._progress, at_once=True)
        final, published = stack.stop_figures(), self._witness.ids()
        self._report(final)
        problems = differences(published, stack.s3.objects())
        if not final:
            problems.append(f"the detector's log has no line that tells its final count: {detector.log}")
        elif not interrupted and final["faces"] != len(published):
            problems.append(f"the detector counted {final['faces']} faces, but {len(published)} were published")
        unsent = final.get("faces", 0) - final.get("confirmed", 0)
        if unsent and interrupted:
            print(f"{unsent} faces were still in the detector's outbox when it was stopped")
        elif unsent:
            problems.append(f"{unsent} faces are still in the detector's outbox: {stack.folder}")
        if not published and not live:
            problems.append("no face was published: is there one in the video?")
        for problem in problems:
            print(f"NOT WELL: {problem}", file=sys.stderr)
        if not problems and published:
            print(f"each of the {len(published)} published faces is in the bucket exactly once")
        return 1 if problems else 0

    def _step(self) -> None:
        stack, detector = self._stack, self._detector
        for process in self._parts:
            process.peak_rss_bytes()
            if not process.running and process is not detector:
                raise DemoError(process.describe_end())
        for line in stack.new_complaints():
            self._screen.tell(line)
        final = {} if detector.running else stack.stop_figures()

        def figure(program: str, name: str) -> int:
            return round(stack.metrics(program).get(f"facedetection_{name}_total", 0))

        before = self._progress.get("frames")
        self._progress = {
            "frames": final.get("frames", figure(DETECTOR, "frames_processed")),
            "faces": final.get("faces", figure(DETECTOR, "faces")),
            "confirmed": figure(FORWARDER, "outbox_confirmed"),
            "stored": figure(SAVER, "objects_stored"),
        }
        if before is not None and self._progress["frames"] > before:
            self._moves.append((self._progress["frames"], time.monotonic(), detector.cpu_seconds()))
        self._screen.show(self._progress)
        detector.wait(_LIVE_LINE_SECONDS / 2)
        if _ends:
            raise _ends[0]

    def _drain(self) -> None:
        """Wait until each published face is stored and confirmed, or no further one comes."""
        before, moved_at = -1, time.monotonic()
        while time.monotonic() - moved_at <= _STANDSTILL_SECONDS:
            self._step()
            waiting = self._stack.metrics(FORWARDER).get("facedetection_outbox_messages", 0)
            stored = {face.id for face in stored_faces(self._stack.s3.objects())}
            if stored >= self._witness.ids() and not waiting:
                return
            if len(stored) != before:
                before, moved_at = len(stored), time.monotonic()
            time.sleep(_LIVE_LINE_SECONDS / 5)

    def _report(self, final: dict[str, int]) -> None:
        latencies = [face.latency_seconds * 1000 for face in stored_faces(self._stack.s3.objects())]
        print(f"detector   {_told(final)}")
        print(f"stored     {len(latencies)} faces")
        if latencies:
            p50, p99 = (percentile(latencies, share) for share in (0.5, 0.99))
            print(f"latency    captured to stored: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        # From the first look that saw frames to the last, without the start.
        if len(self._moves) > 1:
            (first, begin, before), (last, end, after) = self._moves[0], self._moves[-1]
            rate, cpu = (last - first) / (end - begin), (after - before) / (last - first) * 1000
            print(f"speed      {rate:.1f} frames/s, {cpu:.1f} ms CPU a frame in the detector")
        memory = [f"{process.name} {process.peak_rss_bytes() / 2**20:.0f}" for process in self._parts]
        print(f"memory     peak, MiB: {', '.join(memory)}")
        print(f"faces in   {self._stack.s3.folder / BUCKET}")


def _told(figures: Mapping[str, int]) -> str:
    return "   ".join(f"{name} {figure}" for name, figure in figures.items())


class _Screen:
    """One line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._shown_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_terminal and self._shown_at:
            print(flush=True)

    def show(self, figures: Mapping[str, int], *, at_once: bool = False) -> None:
        every = _LIVE_LINE_SECONDS if self._is_terminal else _PLAIN_LINE_SECONDS
        if not at_once and time.monotonic() - self._shown_at < every:
            return
        self._shown_at = time.monotonic()
        if self._is_terminal:
            print(f"\r{_told(figures)}\x1b[K", end="", flush=True)
        else:
            print(_told(figures), flush=True)

    def tell(self, line: str) -> None:
        """Print a line that stays, above the one that changes."""
        print(f"\r\x1b[K{line}" if self._is_terminal else line, flush=True)


# Raised for a signal, and again later: Python drops an exception that is raised in a finalizer.
_ends: list[BaseException] = []


def end_on_signals() -> None:
    """SIGTERM ends the parts in order, as Ctrl-C does."""

    def end(number: int, _: object) -> None:
        _ends.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + signal.SIGTERM))
        raise _ends[0]

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)

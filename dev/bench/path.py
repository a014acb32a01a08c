"""The whole path on this machine: time of a face from its capture into the bucket, and memory of the programs.

First a publisher that is the detector's own outbox and sender, at an even pace of numbered pictures of one size; then
the detector itself, with the generated clip at its own pace.
"""

from collections.abc import Callable
from pathlib import Path

from dev.bench.measure import BenchmarkError, CpuMeter, Scale, mebibytes, wait_for_end, wait_until
from dev.bench.traffic import PAYLOAD_BYTES
from dev.stack.clip import make_clip
from dev.stack.figures import Table, differences, percentile, stored_faces
from dev.stack.producer import Producer
from dev.stack.stack import DETECTOR, FORWARDER, SAVER, LocalStack

FACES_A_SECOND = 10

_FPS = 30
_FRAMES = "facedetection_frames_processed_total"


def run(scale: Scale, folder: Path) -> list[Table]:
    clip = folder / "clip.avi"
    make_clip(clip, seconds=scale.seconds, fps=_FPS)
    settings = {DETECTOR: {"VIDEO_SOURCE": str(clip), "VIDEO_REALTIME": "true"}}
    with LocalStack(folder, programs=(FORWARDER, SAVER), settings=settings) as stack:
        published = _publish(stack, count=scale.seconds * FACES_A_SECOND)
        paced = [face.latency_seconds for face in stored_faces(stack.s3.objects())]
        speed = _detect(stack)
        detected = [face.latency_seconds for face in stored_faces(stack.s3.objects()) if face.id not in published]
        memory = [
            [part.name, f"{part.rss_bytes() / 2**20:.0f}" if part.running else "ended", f"{mebibytes(part):.0f}"]
            for part in stack.processes
        ]
    latencies = [
        _row(f"{FACES_A_SECOND} faces/s of {PAYLOAD_BYTES:,} bytes, no detection", paced),
        _row("edge_face_detection on the generated clip", detected),
    ]
    about = "From the frame's capture to the object in the bucket, all programs and servers on this machine."
    header = ["", "faces", "p50 ms", "p99 ms", "slowest ms"]
    notes = [speed, "Each published face was in the bucket exactly once."]
    of_memory = "Resident memory at the end, and the most it was."
    return [
        Table("Whole path: latency", about, header, latencies, notes),
        Table("Whole path: memory", of_memory, ["", "RSS, MiB", "peak, MiB"], memory),
    ]


def _publish(stack: LocalStack, *, count: int) -> set[str]:
    """Publish at an even pace; the ids of the faces."""
    url = stack.edge_broker.url
    with Producer(url, stack.folder, rate=FACES_A_SECOND, size=PAYLOAD_BYTES, count=count) as producer:
        _wait_for(stack, count, lambda: not producer.running)
        ids = set(producer.ids())
    if problems := differences(ids, stack.s3.objects()):
        raise BenchmarkError("; ".join(problems))
    return ids


def _wait_for(stack: LocalStack, count: int, also: Callable[[], bool] = lambda: True) -> None:
    watched = [stack.programs[FORWARDER], stack.programs[SAVER]]
    seconds = 60 + count / FACES_A_SECOND
    wait_until(
        lambda: also() and len(stack.s3.objects()) >= count, watched=watched, what=f"{count} objects", seconds=seconds
    )


def _detect(stack: LocalStack) -> str:
    """Play the clip; a line on its speed and cost."""
    before = len(stack.s3.objects())
    detector = stack.programs[DETECTOR]
    stack.start_program(DETECTOR)
    wait_until(
        lambda: stack.metrics(DETECTOR).get(_FRAMES, 0) > 0 or not detector.running,
        what="the detector's first frame",
        seconds=60,
    )
    cpu, first = CpuMeter(detector=detector), stack.metrics(DETECTOR)
    wait_for_end(detector)
    # Its counts are those of its last line.
    figures = stack.stop_figures()
    _wait_for(stack, before + figures["faces"])
    frames = figures["frames"] - round(first.get(_FRAMES, 0))
    spent = cpu.per(max(1, frames))["cpu_detector"]
    return (
        f"edge_face_detection processed {figures['frames']} frames of 640x480 at {_FPS} frames/s, skipped"
        f" {figures['skipped']}, found {figures['faces']} faces; {spent:.1f} ms CPU a frame, sending included."
    )


def _row(name: str, latencies: list[float]) -> list[str]:
    figures = (percentile(latencies, 0.5), percentile(latencies, 0.99), max(latencies, default=0.0))
    return [name, str(len(latencies)), *(f"{seconds * 1000:.0f}" for seconds in figures)]

"""The whole path on this machine: how long a face takes from its capture into the bucket, and what memory that needs.

First a publisher that is the detector's own outbox and sender, at an even pace of numbered pictures of one size; then
the detector itself, with the generated clip at its own pace.
"""

from __future__ import annotations

import time
from pathlib import Path

from dev.bench.measure import BenchmarkError, CpuMeter, Scale, Table, wait_until
from dev.bench.traffic import PAYLOAD_BYTES, event, payload
from dev.stack.clip import make_clip
from dev.stack.figures import differences, percentile, stored_faces
from dev.stack.stack import DETECTOR, FORWARDER, SAVER, LocalStack
from face_messages import BrokerUrl, Outbox, Sender, Session
from face_messages.message import TOPIC

FACES_A_SECOND = 10

_FPS = 30
_CLIENT_ID = "publisher"
_OUTBOX_BYTES = 256 * 1024 * 1024
_PATIENCE_SECONDS = 60


def run(scale: Scale, folder: Path) -> list[Table]:
    clip = folder / "clip.avi"
    make_clip(clip, seconds=scale.seconds, fps=_FPS)
    with LocalStack(
        folder, video_source=str(clip), programs=(FORWARDER, SAVER), settings={DETECTOR: {"VIDEO_REALTIME": "true"}}
    ) as stack:
        published = _publish(stack, count=scale.seconds * FACES_A_SECOND)
        paced = _latencies(stack, published)
        speed = _detect(stack)
        detected = [face.latency_seconds for face in stored_faces(stack.objects()) if face.id not in published]
        memory = [
            [process.name, f"{process.rss_bytes() / 2**20:.0f}" if process.running else "ended", f"{peak:.0f}"]
            for process in stack.processes
            for peak in [process.peak_rss_bytes() / 2**20]
        ]
    return [
        Table(
            title="Whole path: latency",
            about="From the frame's capture to the object in the bucket, all programs and servers on this machine.",
            header=["", "faces", "p50 ms", "p99 ms", "slowest ms"],
            rows=[
                _row(f"{FACES_A_SECOND} faces/s of {PAYLOAD_BYTES:,} bytes, no detection", paced),
                _row("edge_face_detection on the generated clip", detected),
            ],
            notes=[speed, "Each published face was in the bucket exactly once."],
        ),
        Table(
            title="Whole path: memory",
            about="Resident memory at the end, and the most it was.",
            header=["", "RSS, MiB", "peak, MiB"],
            rows=memory,
        ),
    ]


def _publish(stack: LocalStack, *, count: int) -> set[str]:
    """Publishes at an even pace; the ids of what was published."""
    outbox = Outbox(stack.folder / f"{_CLIENT_ID}.outbox", max_bytes=_OUTBOX_BYTES)
    sender = Sender(outbox, client_id=_CLIENT_ID)
    session = Session(BrokerUrl.parse(stack.edge_broker.url), client_id=_CLIENT_ID, endpoint=sender)
    session.start()
    wait_until(lambda: session.is_up, watched=[stack.edge_broker], what="the edge broker", seconds=_PATIENCE_SECONDS)
    pictures = [payload(number) for number in range(count)]
    ids: set[str] = set()
    begin = time.monotonic()
    for number, picture in enumerate(pictures):
        time.sleep(max(0.0, begin + number / FACES_A_SECOND - time.monotonic()))
        face = event()
        outbox.put(face.id.encode(), face.to_message(TOPIC, picture), lambda: None)
        ids.add(face.id)
    wait_until(
        lambda: len(stack.objects()) >= count and not len(outbox),
        watched=[stack.programs[FORWARDER], stack.programs[SAVER]],
        what=f"{count} objects",
        seconds=_PATIENCE_SECONDS,
    )
    session.stop()
    outbox.close()
    return ids


def _latencies(stack: LocalStack, published: set[str]) -> list[float]:
    if problems := differences(published, stack.objects()):
        raise BenchmarkError("; ".join(problems))
    return [face.latency_seconds for face in stored_faces(stack.objects())]


def _detect(stack: LocalStack) -> str:
    """Plays the clip; a line on how fast that went."""
    before = len(stack.objects())
    detector = stack.programs[DETECTOR]
    stack.start_program(DETECTOR)
    wait_until(
        lambda: stack.metrics(DETECTOR).get("facedetection_frames_processed_total", 0) > 0 or not detector.running,
        watched=[],
        what="the detector's first frame",
        seconds=_PATIENCE_SECONDS,
    )
    cpu, first = CpuMeter(detector=detector), stack.metrics(DETECTOR)
    # Its memory is read while it runs; what it has counted, from its last line.
    while detector.running:
        detector.peak_rss_bytes()
        detector.wait(0.1)
    if detector.poll() != 0:
        raise BenchmarkError(detector.describe_end())
    figures = stack.stop_figures()
    wait_until(
        lambda: len(stack.objects()) >= before + figures["faces"],
        watched=[stack.programs[FORWARDER], stack.programs[SAVER]],
        what=f"{figures['faces']} objects",
        seconds=_PATIENCE_SECONDS,
    )
    frames = figures["frames"] - round(first.get("facedetection_frames_processed_total", 0))
    spent = cpu.per(max(1, frames))["cpu_detector"]
    return (
        f"edge_face_detection processed {figures['frames']} frames of 640x480 at {_FPS} frames/s, skipped"
        f" {figures['skipped']}, found {figures['faces']} faces; {spent:.1f} ms CPU a frame, sending included."
    )


def _row(name: str, latencies: list[float]) -> list[str]:
    figures = (percentile(latencies, 0.5), percentile(latencies, 0.99), max(latencies, default=0.0))
    return [name, str(len(latencies)), *(f"{seconds * 1000:.0f}" for seconds in figures)]

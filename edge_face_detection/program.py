"""Camera to faces to outbox to edge broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edge_face_detection.detection import Detection
from edge_face_detection.faces.detector import DetectorError, FaceDetector
from edge_face_detection.faces.haar import HaarFinder
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.faces.yunet import YuNetFinder
from edge_face_detection.pause import PauseSwitch
from edge_face_detection.pictures.best import REFRESH
from edge_face_detection.pictures.cutter import FaceCutter
from edge_face_detection.preview.server import PORT as PREVIEW_PORT
from edge_face_detection.preview.server import Preview
from edge_face_detection.settings import DetectorSettings
from edge_face_detection.sources.frame import SourceError
from edge_face_detection.sources.open_source import open_source
from edge_face_detection.sources.source import Source
from face_messages import Monitor, Outbox, Sender, Session
from face_messages.message import MAX_MESSAGE_BYTES, control_topic
from face_messages.mqtt.endpoint import Multiplexer
from face_messages.outbox.progress import report_backlog
from face_messages.service import program
from face_messages.service.health import CameraHealth, OutboxHealth, Rate, Reporter
from face_messages.service.monitor import show_sender, show_session
from face_messages.service.settings import broker_url

log = logging.getLogger(__name__)

# The broker has this time to say whether the camera is paused. After that the camera is opened all the same.
_BROKER_SECONDS = 1.0
# So long a face waits to be committed: with the others of its frame, and not at all where the forwarder confirms it
# sooner. A power cut may take the faces of this time, as it takes those of the frame in hand.
_GATHER_SECONDS = 0.01


def work(settings: DetectorSettings, stop: program.Stop) -> int:
    """Runs until the source ends or `stop` is set."""
    try:
        source = open_source(
            settings.video_source.get_secret_value(),
            realtime=settings.video_realtime,
            loop=settings.video_loop,
            size=settings.video_size_pixels,
            rate=settings.video_fps,
            stall_seconds=settings.stall_seconds,
            transport=settings.rtsp_transport,
            snapshot_seconds=settings.snapshot_seconds,
        )
        detector: FaceDetector = _tracker(settings)
        finer = _tracker(settings, finer=2) if settings.preview else None
    except (SourceError, DetectorError) as error:
        log.log(logging.ERROR, "%s", error)  # no traceback: the line says it all
        return program.EXIT_FAILED
    monitor = Monitor()
    if finer:
        settings = settings.model_copy(update={"metrics_port": settings.metrics_port or PREVIEW_PORT})
        preview = Preview(detector, settings=settings, source=source, finer=finer)
        monitor.page("preview", preview.answer)
        log.info("the preview is at %s", preview.url(settings.metrics_port))
        detector = preview
    with program.monitored(monitor, settings):
        outbox = program.open_outbox(settings, stop, monitor)
        if outbox is None:
            return 0
        outbox.gather_delay = _GATHER_SECONDS
        control = f"{control_topic(settings.edge_id)}/{settings.camera_id}"
        switch = PauseSwitch(source, topic=control, outbox=settings.outbox_path)
        cutter = FaceCutter(
            detector,
            edge_id=settings.edge_id,
            camera_id=settings.camera_id,
            margin=settings.face_margin,
            min_sharpness=settings.min_sharpness,
            best_seconds=settings.best_seconds if settings.face_selection == "best" else None,
            max_png=min(MAX_MESSAGE_BYTES, outbox.largest_message),
        )
        detection = Detection(settings, source, cutter, outbox, switch, stop)
        sender = Sender(outbox, client_id=settings.client_id)
        reporter = Reporter(
            settings.client_id,
            _health(settings, source, detection, outbox),
            watch=lambda: (source.paused, source.is_up, outbox.trouble is None),
        )
        session = Session(
            broker_url(settings.mqtt_url),
            client_id=settings.client_id,
            endpoint=Multiplexer(sender, switch, reporter),
        )

        _show(monitor, source, detection)
        show_sender(monitor, sender)
        show_session(monitor, session, "edge")
        log.info("started on %s: %d faces wait in the outbox", source.description, len(outbox))
        session.start()
        backlog = threading.Thread(target=report_backlog, args=(outbox, stop), name="backlog", daemon=True)
        backlog.start()
        threading.Thread(target=_close_on_stop, args=(stop, source), name="closer", daemon=True).start()
        # A pause that was said while this program was off should hold from the first frame on.
        switch.told.wait(_BROKER_SECONDS)
        status = detection.run()
        source.close()
        _drain(outbox, stop, 0.0 if source.live else settings.drain_seconds)
        # A recording ends without a signal. The backlog's thread must not ask a closed outbox.
        stop.set()
        backlog.join()
        session.stop()
        outbox.close()
        if gone := len(outbox) - outbox.totals.messages:
            log.error("%d faces that were found had no room in the outbox: they are lost with this stop", gone)
        log.info(
            "stopped: frames=%d skipped=%d faces=%d confirmed=%d waiting=%d",
            detection.frames,
            source.frames_skipped,
            detection.faces,
            outbox.confirmed,
            outbox.totals.messages,
        )
    return status


def _tracker(settings: DetectorSettings, *, finer: int = 1) -> Tracker:
    """Finds faces that are `finer` times smaller. Raises DetectorError."""
    return Tracker(
        HaarFinder() if settings.detector == "haar" else YuNetFinder(settings.yunet_model),
        min_face_size=max(1, settings.min_face_size // finer),
        max_side=settings.detection_max_side * finer,
        refresh=REFRESH if settings.face_selection == "best" else Tracker.refresh,
    )


def _health(
    settings: DetectorSettings, source: Source, detection: Detection, outbox: Outbox
) -> Callable[[], CameraHealth]:
    frames, faces = Rate(10), Rate(60)

    def read() -> CameraHealth:
        return CameraHealth(
            camera=settings.camera_id,
            state=source.state,
            why=source.trouble if source.state == "down" else None,
            selection=settings.face_selection,
            frames_per_second=frames.per_second(detection.frames),
            faces_per_minute=round(60 * faces.per_second(detection.faces), 1),
            outbox=OutboxHealth.of(outbox),
            last_face=detection.last_face,
        )

    return read


def _close_on_stop(stop: threading.Event, source: Source) -> None:
    stop.wait()
    source.close()


def _drain(outbox: Outbox, stop: threading.Event, seconds: float) -> None:
    """A recording has ended: its faces get this time to be confirmed."""
    deadline = time.monotonic() + seconds
    while len(outbox) and time.monotonic() < deadline and not stop.wait(0.02):
        pass


def _show(monitor: Monitor, source: Source, detection: Detection) -> None:
    monitor.counter("frames_read", "frames the source gave, skipped ones included", lambda: source.frames_read)
    monitor.counter("frames_skipped", "frames passed over for a newer one", lambda: source.frames_skipped)
    monitor.counter("frames_processed", "frames in which faces were looked for", lambda: detection.frames)
    monitor.counter(
        "frames_unreadable",
        "frames that could not be decoded",
        lambda: source.frames_unreadable + detection.unreadable,
    )
    monitor.counter("faces", "faces found and handed to the outbox", lambda: detection.faces)
    monitor.counter("source_reconnects", "times the camera came back after it was lost", lambda: source.reconnects)
    monitor.counter("source_stalls", "times the camera gave nothing new, or its driver hung", lambda: source.stalls)
    monitor.gauge("paused", "1 while an operator has paused the camera", lambda: source.paused)
    monitor.gauge("source_up", "1 while frames are coming", lambda: source.is_up)
    monitor.state("source", lambda: (source.trouble if source.state == "down" else None) or source.state)
    monitor.check("camera", lambda: source.is_well)

"""Take from the edge broker into the outbox; send from the outbox to the cloud broker."""

import logging
from datetime import UTC, datetime

from edge_forwarder.camera_health import Cameras
from edge_forwarder.pause import ControlRelay
from edge_forwarder.settings import ForwarderSettings
from face_messages import Monitor, Outbox, Sender, Session, Taken, Taker
from face_messages.event import FaceEvent, InvalidEventError, new_id
from face_messages.message import MAX_MESSAGE_BYTES, Message, control_topic
from face_messages.mqtt.endpoint import Multiplexer
from face_messages.outbox.progress import report_backlog
from face_messages.service import program
from face_messages.service.certificate import ends_at, watch_certificate
from face_messages.service.health import FILTERS, EdgeHealth, Listener, OutboxHealth, Reporter
from face_messages.service.monitor import show_sender, show_session, show_taker
from face_messages.service.settings import broker_url, broker_urls

log = logging.getLogger(__name__)

# Unacknowledged messages that the edge broker may send: enough to fill a group commit, few enough to bound memory.
_RECEIVE_MAXIMUM = 256
_SETTLE_SECONDS = 3.0
# What an operator may say, in bytes.
_MAX_CONTROL = 1024


def outbox_id(message: Message) -> bytes:
    """The id that a message has in custody: its sender's for it, or its event's, or else a new one."""
    if message.wants_receipt and message.correlation_data is not None:
        return message.correlation_data  # the event's id, and cheaper to come by
    try:
        return FaceEvent.from_message(message).id.encode()
    except InvalidEventError:
        return new_id().encode()


class Forwarder:
    """Wires a taker at the edge broker, an outbox and a sender at the cloud broker together.

    What an operator says to this edge's cameras goes the other way. How they and the forwarder are, the cloud is told.
    """

    def __init__(self, settings: ForwarderSettings, outbox: Outbox) -> None:
        self.outbox = outbox
        self.sender = Sender(outbox, client_id=settings.edge_id, window=settings.send_window)
        control = control_topic(settings.edge_id)
        relay = ControlRelay(control)
        said = Taker(control, relay.take, max_size=_MAX_CONTROL)
        self._certificate = settings.cloud_mqtt_cert_file
        self._cameras = Cameras(settings.edge_id)
        self._reporter = Reporter(settings.edge_id, self._health, watch=self._state)
        self.cloud = Session(
            broker_urls(settings.cloud_mqtt_url),
            client_id=settings.edge_id,
            endpoint=Multiplexer(self.sender, said, self._reporter),
            tls=settings.cloud_tls,
        )
        self.taker = Taker(settings.mqtt_topic, self._take, max_size=min(MAX_MESSAGE_BYTES, outbox.largest_message))
        cameras = Listener(FILTERS, self._cameras.hear)
        self.edge = Session(
            broker_url(settings.edge_mqtt_url),
            client_id=settings.edge_id,
            endpoint=Multiplexer(self.taker, relay, cameras),
            receive_maximum=_RECEIVE_MAXIMUM,
        )

    def _take(self, taken: Taken) -> None:
        message = taken.message
        self.outbox.put(outbox_id(message), message, taken.safe, may_wait=message.wants_receipt)

    def _health(self) -> EdgeHealth:
        end = None if self._certificate is None else ends_at(self._certificate)
        return EdgeHealth(
            outbox=OutboxHealth.of(self.outbox),
            link_since=self._reporter.link_since,
            edge_broker="up" if self.edge.is_up else "down",
            certificate_ends=None if end is None else datetime.fromtimestamp(end, UTC),
            cameras=self._cameras.present(),
        )

    def _state(self) -> object:
        cameras = [(camera.camera, camera.state) for camera in self._cameras.present()]
        return self.edge.is_up, self.outbox.trouble is None, cameras

    def start(self) -> None:
        self.cloud.start()
        self.edge.start()

    def stop(self) -> None:
        """Lets go of nothing: what is not in the outbox by now stays with its sender."""
        self.taker.stop_taking(seconds=_SETTLE_SECONDS, is_hopeless=lambda: self.outbox.trouble is not None)
        self.edge.stop()
        self.cloud.stop()
        self.outbox.close()


def work(settings: ForwarderSettings, stop: program.Stop) -> int:
    """Runs until `stop` is set."""
    monitor = Monitor()
    with program.monitored(monitor, settings):
        outbox = program.open_outbox(settings, stop, monitor)
        if outbox is None:
            return 0
        forwarder = Forwarder(settings, outbox)
        show_sender(monitor, forwarder.sender)
        show_taker(monitor, forwarder.taker)
        show_session(monitor, forwarder.edge, "edge")
        show_session(monitor, forwarder.cloud, "cloud")
        if settings.cloud_mqtt_cert_file is not None:
            watch_certificate(settings.cloud_mqtt_cert_file, monitor, stop)
        log.info("started as %s: %d messages wait in the outbox", settings.edge_id, len(outbox))
        forwarder.start()
        report_backlog(outbox, stop)
        forwarder.stop()
        waiting = outbox.totals.messages
        log.info("stopped: taken=%d confirmed=%d waiting=%d", forwarder.taker.taken, outbox.confirmed, waiting)
    return 0

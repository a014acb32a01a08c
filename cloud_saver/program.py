"""What the saver does from its start to its end."""

import logging
import threading

from cloud_saver.announce import Lately, News, camera_of
from cloud_saver.clocks import Clocks
from cloud_saver.edge_metrics import Edges
from cloud_saver.retention import watch
from cloud_saver.saver import Saver
from cloud_saver.settings import SaverSettings, amqp_urls
from face_messages import Monitor, Session, Taker
from face_messages.mqtt.connection import Connection
from face_messages.mqtt.endpoint import Endpoint, Multiplexer
from face_messages.service import program
from face_messages.service.health import FILTERS, Listener, Reporter
from face_messages.service.monitor import show_session, show_taker
from face_messages.service.settings import broker_url
from object_store.bucket import Bucket
from object_store.keys import StoredObject

log = logging.getLogger(__name__)

_SETTLE_SECONDS = 4.0
# The broker keeps giving an absent member of a group its share, and hands none of it on. So a member's session ends
# with its connection, and the broker soon misses a silent member; in seconds.
_GROUP_KEEPALIVE = 10


def _session(settings: SaverSettings, endpoint: Endpoint, window: int) -> Connection:
    """With Mosquitto, or with a cluster of RabbitMQ; the rest of the program does not know which."""
    if settings.amqp_url is not None:
        # Without a cluster, pika's memory is saved.
        from face_messages.amqp.session import AmqpSession  # noqa: PLC0415

        return AmqpSession(
            amqp_urls(settings.amqp_url),
            client_id=settings.client_id,
            endpoint=endpoint,
            tls=settings.tls,
            receive_maximum=window,
        )
    assert settings.mqtt_url is not None
    return Session(
        broker_url(settings.mqtt_url),
        client_id=settings.client_id,
        endpoint=endpoint,
        tls=settings.tls,
        keep_session=not settings.saver_group,
        keepalive=_GROUP_KEEPALIVE if settings.saver_group else 30,
        receive_maximum=window,
    )


def work(settings: SaverSettings, stop: program.Stop) -> int:
    """Runs until `stop` is set."""
    store = Bucket(settings)
    saver = Saver(store, workers=settings.saver_workers)
    taker = Taker(settings.mqtt_topic, saver.take, group=settings.saver_group)
    clocks = Clocks()
    lately, news, edges = Lately(lambda: saver.trouble), News(), Edges(clocks)
    reporter = Reporter(settings.client_id, lately.health, watch=lambda: saver.trouble is None)
    session = _session(settings, Multiplexer(taker, Listener(FILTERS, edges.hear), news, reporter), saver.window)
    monitor = Monitor()
    monitor.counter("objects_stored", "objects written to the bucket", lambda: saver.stored)
    monitor.counter("store_failures", "writes that failed and were tried again", lambda: saver.failed)
    monitor.counter("messages_repeated", "messages that came again and were stored already", lambda: saver.repeated)
    monitor.counter("objects_refused", "objects the store refused for good", lambda: saver.refused)
    monitor.counter("messages_impostor", "faces sent in another edge's name, unattributed", lambda: saver.impostors)
    monitor.gauge("objects_parked", "objects that wait because the store refuses them", lambda: saver.parked)
    monitor.gauge("store_up", "1 while the store takes objects", lambda: saver.trouble is None)
    monitor.state("store", lambda: str(saver.trouble or "well"))
    monitor.state("clocks", lambda: str(clocks))
    buckets = (0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
    latency = monitor.histogram("latency_seconds", "from the frame's capture to the object stored", buckets)
    monitor.registry.register(edges)

    def stored(stored: StoredObject, seconds: float | None) -> None:
        if seconds is not None:
            edge, camera = camera_of(stored)
            seconds = clocks.latency(edge, camera, seconds)
        if seconds is not None:
            latency.observe(seconds)
        lately.stored(stored, seconds)
        news.stored(stored)

    saver.on_stored = stored
    show_taker(monitor, taker)
    show_session(monitor, session, "cloud")
    with program.monitored(monitor, settings):
        if settings.retention_days:
            watched = (store, settings.retention_days, stop.wait)
            threading.Thread(target=watch, args=watched, name="retention", daemon=True).start()
        log.info("started: faces go to bucket %s at %s", settings.cos_bucket, settings.cos_endpoint)
        session.start()
        stop.wait()
        taker.stop_taking(seconds=_SETTLE_SECONDS)
        session.stop()
        log.info("stopped: taken=%d stored=%d unstored=%d", taker.taken, saver.stored, taker.held)
    return 0

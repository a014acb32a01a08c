"""What the gallery does from its start to its end."""

import asyncio
import logging
import socket
import threading

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cloud_gallery.access import Access
from cloud_gallery.live import Hub
from cloud_gallery.pages import Pages
from cloud_gallery.settings import GallerySettings
from face_messages import Monitor, Session
from face_messages.message import STORED_TOPIC
from face_messages.service import program
from face_messages.service.health import FILTERS, Listener
from face_messages.service.monitor import show_session
from face_messages.service.settings import broker_urls
from object_store.readable import ReadableBucket

log = logging.getLogger(__name__)

_MAX_REQUESTS = 500  # at a time; each page has a few
_HEADER_SECONDS = 5.0  # for the headers of a request to arrive
_LAST_SECONDS = 2  # for requests to end when the program does


class Impatient(H11Protocol):
    """Closes a connection on which no whole request arrives in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base does
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def _wait(self) -> None:
        is_waiting = self.conn.their_state is h11.IDLE
        if is_waiting and self._late is None:
            self._late = self.loop.call_later(_HEADER_SECONDS, self.transport.close)
        elif not is_waiting and self._late:
            self._late.cancel()
            self._late = None


def work(settings: GallerySettings, stop: program.Stop) -> int:
    """Runs until `stop` is set."""
    store, access = ReadableBucket(settings), Access(settings)
    hub = Hub(lambda: session.connects if session.is_up else None)
    pages = Pages(settings, store, hub, access)
    session = Session(
        broker_urls(settings.mqtt_url),
        client_id=settings.gallery_id,
        endpoint=Listener((f"{STORED_TOPIC}/#", *FILTERS), hub.heard),
        keep_session=False,
    )
    monitor = Monitor()
    monitor.gauge("gallery_viewers", "pages that are open", lambda: hub.viewers)
    monitor.counter("gallery_logins_refused", "wrong passwords", lambda: access.refused)
    monitor.counter("gallery_store_failures", "requests to the store that failed", lambda: pages.failures)
    monitor.state("store", lambda: str(pages.trouble or "well"))
    show_session(monitor, session, "cloud")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        pages.app,
        loop="asyncio",
        http=Impatient,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MAX_REQUESTS,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    server = uvicorn.Server(config)
    listening = _listening(settings)
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="pages", daemon=True)
    monitor.check("pages", serving.is_alive)
    with program.monitored(monitor, settings):
        serving.start()
        session.start()
        host, port = listening.getsockname()[:2]
        here = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        log.info("started: the gallery is at %s", settings.gallery_url or here)
        stop.wait()
        server.should_exit = True
        session.stop()
        serving.join(2 * _LAST_SECONDS)
        log.info("stopped")
    return 0


def _listening(settings: GallerySettings) -> socket.socket:
    host, port = settings.gallery_host, settings.gallery_port
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        text = f"GALLERY_PORT: {host}:{port} cannot be served on ({error}): choose another port or GALLERY_HOST"
        raise OSError(text) from error

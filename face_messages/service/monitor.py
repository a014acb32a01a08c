"""Figures for Prometheus at /metrics, and /healthz for a supervisor that restarts the program."""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from face_messages.custody.sender import Sender
from face_messages.custody.taker import Taker
from face_messages.mqtt.connection import Connection
from face_messages.outbox.outbox import Outbox

log = logging.getLogger(__name__)

PREFIX = "facedetection"

# When a histogram was made is a figure that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call] # half of prometheus_client is typed


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP request is answered with."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


class MonitorServer(ThreadingHTTPServer):
    """Answers GET requests with what `answer` makes of the path and the header Host, in threads of its own."""

    daemon_threads = True

    def __init__(self, host: str, port: int, answer: Callable[[str, str], Answer]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                told = answer(self.path, self.headers.get("Host", ""))
                self.send_response(told.status)
                self.send_header("Content-Type", told.content_type)
                self.send_header("Content-Length", str(len(told.body)))
                for name, value in told.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(told.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                log.debug(format, *args)

        super().__init__((host, port), Handler)
        self.port = int(self.server_address[1])
        threading.Thread(target=self.serve_forever, name="monitor", daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base class's
        """Logs; the base class prints. A client that went away in mid-answer is no error."""
        is_gone = isinstance(sys.exception(), OSError)
        level = logging.DEBUG if is_gone else logging.ERROR
        log.log(level, "an HTTP request from %s failed", client_address, exc_info=True)

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Monitor(Collector):
    """What a program shows of itself.

    It reads the program's own counts when asked, so that counting costs nothing while faces flow.

    `/healthz` answers 200 while the program can do its work by itself, and 503 with the reason when a restart may
    help or this machine needs mending. A broker or store that is away is told in the body and in the metrics alone.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._figures: list[Callable[[], Metric]] = []
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self._checks: dict[str, Callable[[], bool]] = {}
        self._states: dict[str, Callable[[], object]] = {}
        self._pages: dict[str, Callable[[str, str], Answer]] = {}

    def counter(self, name: str, text: str, read: Callable[[], float]) -> None:
        """`name` without the unit's `_total`; `read` is called at each scrape, in another thread."""
        self._figures.append(lambda: CounterMetricFamily(f"{PREFIX}_{name}", text, value=read()))

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._figures.append(lambda: GaugeMetricFamily(f"{PREFIX}_{name}", text, value=read()))

    def collect(self) -> Iterator[Metric]:
        return (figure() for figure in self._figures)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, buckets=buckets, registry=self.registry)

    def check(self, name: str, is_well: Callable[[], bool]) -> None:
        """Something that a person has to mend, or only a restart can, when it is not well."""
        self._checks[name] = is_well

    def state(self, name: str, read: Callable[[], object]) -> None:
        """Something to tell in the body of /healthz."""
        self._states[name] = read

    def page(self, name: str, answer: Callable[[str, str], Answer]) -> None:
        """Serves /<name>/ and all below it.

        `answer` gets the rest of the path, query included, and the header Host; it is called in several threads.
        """
        self._pages[name] = answer

    def answer(self, path: str, host: str) -> Answer:
        """To GET `path`, asked for under the name `host`."""
        if path == "/metrics":
            return Answer(generate_latest(self.registry), CONTENT_TYPE_LATEST)
        if path == "/healthz":
            well, body = self.health()
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            return Answer(json.dumps(body).encode(), "application/json", status)
        name, _, rest = path.removeprefix("/").partition("/")
        if name in self._pages:
            return self._pages[name](rest, host)
        return Answer(b"/metrics or /healthz\n", status=HTTPStatus.NOT_FOUND)

    def health(self) -> tuple[bool, dict[str, object]]:
        failed = [name for name, is_well in self._checks.items() if not is_well()]
        states = {name: read() for name, read in self._states.items()}
        return not failed, {"well": not failed, "failed": failed, **states}

    def serve(self, host: str, port: int) -> MonitorServer | None:
        """Starts the HTTP server, unless `port` is 0. OSError: the port is taken, or the address is not ours."""
        return MonitorServer(host, port, self.answer) if port else None


def show_outbox(monitor: Monitor, outbox: Outbox) -> None:
    """The seconds until a backlog is gone are left to PromQL, which knows the past; negative while it grows.

    facedetection_outbox_messages / -deriv(facedetection_outbox_messages[5m])
    """
    gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
        ("outbox_messages", "messages on disk, waiting to be confirmed", lambda: outbox.totals.messages),
        ("outbox_bytes", "bytes on disk that messages take up, dead letters included", lambda: outbox.totals.bytes),
        ("outbox_max_bytes", "bytes that the outbox may take up on disk", lambda: outbox.max_bytes),
        ("outbox_oldest_age_seconds", "age of the oldest message in custody", outbox.oldest_age),
        ("outbox_aside_messages", "messages kept that can never be delivered", lambda: outbox.totals.dead_letters),
        ("outbox_refusing", "1 while the outbox cannot take messages", lambda: outbox.trouble is not None),
    )
    for name, text, read in gauges:
        monitor.gauge(name, text, read)
    monitor.counter("outbox_written", "messages written to disk", lambda: outbox.written)
    monitor.counter("outbox_confirmed", "messages the next keeper has confirmed", lambda: outbox.confirmed)
    about = "messages dropped for newer ones in a full outbox"
    monitor.counter("outbox_overwritten", about, lambda: outbox.overwritten)
    monitor.check("outbox", lambda: outbox.disk_works)
    monitor.state("outbox", lambda: outbox.trouble or "well")


def show_sender(monitor: Monitor, sender: Sender) -> None:
    monitor.counter("messages_sent", "messages sent, each try counted", lambda: sender.sent)
    monitor.counter("messages_resent", "messages sent again", lambda: sender.resent)
    monitor.gauge("messages_unconfirmed", "messages on the wire without a receipt", lambda: sender.unconfirmed)


def show_taker(monitor: Monitor, taker: Taker) -> None:
    monitor.counter("messages_taken", "messages taken from the broker, resends counted", lambda: taker.taken)
    monitor.counter("messages_refused", "messages refused: too large, or unreadable", lambda: taker.refused)
    monitor.gauge("messages_held", "messages taken and not safe yet", lambda: taker.held)


def show_session(monitor: Monitor, connection: Connection, name: str) -> None:
    """`name` tells which of a program's brokers it is: `edge` or `cloud`."""
    monitor.gauge(f"{name}_broker_up", f"1 while the {name} broker is connected", lambda: connection.is_up)
    monitor.counter(f"{name}_broker_connects", f"connections made to the {name} broker", lambda: connection.connects)
    monitor.check(f"{name} connection", lambda: connection.is_alive)
    monitor.state(f"{name}_broker", lambda: "up" if connection.is_up else "down")
    monitor.state(f"{name}_broker_trouble", lambda: connection.trouble)

"""Figures for Prometheus at /metrics, and /healthz for whoever restarts the program."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

PREFIX = "facedetection"


class _Figures(Collector):
    """Reads the programs' own counts when asked, so that counting costs nothing while faces flow."""

    def __init__(self) -> None:
        self.counters: dict[str, tuple[str, Callable[[], float]]] = {}
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def collect(self) -> Iterator[Metric]:
        for name, (text, read) in self.counters.items():
            yield CounterMetricFamily(name, text, value=read())
        for name, (text, read) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value=read())


class Monitor:
    """What a program shows of itself.

    `/healthz` answers 200 while the program can do its work by itself, and 503 with the reason when only a
    restart may help. A broker or store that is away is no such reason: that is told in the body and in the metrics.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._figures = _Figures()
        self.registry.register(self._figures)
        ProcessCollector(registry=self.registry)
        self._checks: dict[str, Callable[[], bool]] = {}
        self._states: dict[str, Callable[[], object]] = {}

    def counter(self, name: str, text: str, read: Callable[[], float]) -> None:
        """`name` without the unit's `_total`; `read` is called at each scrape, in another thread."""
        self._figures.counters[f"{PREFIX}_{name}"] = (text, read)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._figures.gauges[f"{PREFIX}_{name}"] = (text, read)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, buckets=buckets, registry=self.registry)

    def check(self, name: str, is_well: Callable[[], bool]) -> None:
        """Something only a restart can mend when it is not well."""
        self._checks[name] = is_well

    def state(self, name: str, read: Callable[[], object]) -> None:
        """Something to tell in the body of /healthz."""
        self._states[name] = read

    def health(self) -> tuple[bool, dict[str, object]]:
        failed = [name for name, is_well in self._checks.items() if not is_well()]
        return not failed, {
            "well": not failed,
            "failed": failed,
            **{n: read() for n, read in self._states.items()},
        }

    def serve(self, host: str, port: int) -> MonitorServer | None:
        """Starts the HTTP server, unless `port` is 0.

        Raises:
            OSError: the port is taken or the address is not this machine's.

        """
        return MonitorServer(self, host, port) if port else None


class MonitorServer:
    """The HTTP server, in a thread of its own."""

    def __init__(self, monitor: Monitor, host: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(monitor.registry))
                elif self.path == "/healthz":
                    well, body = monitor.health()
                    status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
                    self._answer(status, "application/json", json.dumps(body).encode())
                else:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/metrics or /healthz\n")

            def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                log.debug(format, *args)

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

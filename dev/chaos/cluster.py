"""The path with a cluster of RabbitMQ in the cloud broker's place, whose nodes are killed, paused and cut off too."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dev.chaos.faults import Kind
from dev.chaos.stage import Link, Stage
from dev.stack.bundle import Bundle
from dev.stack.cluster import ADDRESSES, NAMES, Cluster, ClusterError
from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess
from dev.stack.programs import read_metrics


class Node(ManagedProcess):
    """One of the nodes, in the place of a process."""

    def __init__(self, cluster: Cluster, number: int, folder: Path) -> None:
        super().__init__(NAMES[number], [], log=folder / f"{NAMES[number]}.log")
        self.cluster = cluster
        self.number = number

    @property
    def running(self) -> bool:
        return True  # Docker starts it again where it ends by itself

    def start(self) -> None:
        self.cluster.start(self.number)

    # Something else may have happened to it meanwhile: what is down cannot be killed, nor paused, nor resumed.

    def kill(self) -> int | None:
        with contextlib.suppress(ClusterError):
            self.cluster.kill(self.number)
        return None

    def pause(self) -> None:
        with contextlib.suppress(ClusterError):
            self.cluster.pause(self.number)

    def resume(self) -> None:
        with contextlib.suppress(ClusterError):
            self.cluster.resume(self.number)

    def terminate(self, timeout: float = 10) -> int | None:
        del timeout
        return None

    def peak_rss_bytes(self) -> int:
        with contextlib.suppress(ClusterError, OSError):
            self._peak_rss_bytes = max(self._peak_rss_bytes, self.cluster.memory(self.number))
        return self._peak_rss_bytes


class Switch(Link):
    """Something that is wrong with a node for a while, in the place of a link. `begin` ends it, too."""

    def __init__(self, begin: Callable[[], contextlib.AbstractContextManager[object]]) -> None:
        self._begin = begin
        self._wrong = contextlib.ExitStack()
        self._is_on = False

    def _set(self, on: bool) -> None:
        if on == self._is_on:
            return
        self._is_on = on
        # What is wrong already ends with a node that is down at this moment.
        with contextlib.suppress(ClusterError):
            if on:
                self._wrong.enter_context(self._begin())
            else:
                self._wrong.close()

    refuse = swallow = property(lambda self: self._is_on, _set)

    def __exit__(self, *_: object) -> None:
        self._set(False)


@contextlib.contextmanager
def _full_disk(cluster: Cluster, node: int) -> Iterator[None]:
    """The node's disk is full, as far as it knows: then no node takes anything more from whoever publishes."""
    limit = "set_disk_free_limit"
    cluster.control(node, limit, "100TB", "--timeout", "10")
    try:
        yield
    finally:
        cluster.control(node, limit, "50MB", "--timeout", "10")


class ClusterStage(Stage):
    """Three nodes, several edges, whose forwarders know all nodes, and several savers by AMQP."""

    def __init__(self, folder: Path, cluster: Cluster, bundles: list[Bundle], **common: Any) -> None:
        self.cluster = cluster
        self._bundles = bundles
        # What forwarders send is encrypted, so it is they who tell how often; by the port of each.
        self._ports: dict[str, int] = {}
        self._sent: Counter[tuple[str, int]] = Counter()
        super().__init__(folder, **common)
        del self.processes["cloud broker"]
        for name in ("forwarder-cloud", *(f"cloud-{member}" for member in self.members)):
            self.links.pop(name).__exit__()
        nodes = [Node(cluster, number, folder) for number in range(len(ADDRESSES))]
        self.nodes = [node.name for node in nodes]
        self.processes |= {node.name: node for node in nodes}
        self.links |= {f"{node.name}'s network": Switch(partial(cluster.cut_off, node.number)) for node in nodes}
        self.links |= {f"{node.name}'s disk": Switch(partial(_full_disk, cluster, node.number)) for node in nodes}

    def start(self) -> None:
        """The nodes run already."""
        self.cluster.empty_queue()
        for name, process in self.processes.items():
            if name not in self.nodes:
                process.start()

    def _forwarder_settings(self, number: int) -> dict[str, str]:
        # Each begins with another node, as enrolled edges do.
        urls = self.cluster.mqtt_urls.split(",")
        start = number % len(urls)
        port = self._ports[f"forwarder {number}" if len(self._bundles) > 1 else "forwarder"] = free_port()
        return {
            "CLOUD_MQTT_URL": ",".join(urls[start:] + urls[:start]),
            "METRICS_PORT": str(port),
            **self._bundles[number - 1].settings,
        }

    def note(self) -> None:
        """Also how much each forwarder has sent since it was started."""
        super().note()
        for name, port in self._ports.items():
            process = self.processes[name]
            figures = read_metrics(port) if process.running and not process.stands_still() else {}
            # None where it starts, or is paused at this moment.
            if (sent := figures.get("facedetection_messages_sent_total")) is not None:
                self._sent[name, process.pid] = round(sent)

    @property
    def sent(self) -> int:
        return self._sent.total()

    def _saver_settings(self, name: str) -> dict[str, str]:
        del name
        return {"AMQP_URL": self.cluster.amqp_urls}

    def inflict(self, kind: Kind, name: str) -> None:
        if kind is Kind.RESTART and name not in self._down:
            self.cluster.stop(self.nodes.index(name))
            self._down.add(name)
        else:
            super().inflict(kind, name)

    def stop(self) -> None:
        """The nodes go on, whole again."""
        super().stop()
        for number in range(len(ADDRESSES)):
            self.cluster.start(number)
            self.cluster.wait(number)

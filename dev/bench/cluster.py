"""A cluster of RabbitMQ under many edges: what it carries, and how long a dead node or saver holds faces up.

A face that a node loses comes again, so at the end each must be in the bucket, once. Times run from the capture until
the face is in the bucket for the first time.
"""

from __future__ import annotations

import logging
import resource
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dev.bench.edges import SAVERS, Edge, Site, wait
from dev.bench.measure import say
from dev.bench.traffic import PAYLOAD_BYTES
from dev.stack.cluster import NAMES, Cluster
from dev.stack.figures import Table, percentile


@dataclass(frozen=True, slots=True)
class Load:
    """`rounds` of each fault, but of frozen nodes; `seconds` of `rate` faces a second; faces an edge in a `burst`."""

    edges: int
    rounds: int
    frozen: int
    seconds: float
    rate: float
    burst: int


FULL = Load(edges=300, rounds=10, frozen=2, seconds=20, rate=30, burst=5)
QUICK = Load(edges=6, rounds=1, frozen=1, seconds=3, rate=10, burst=5)


def run(load: Load, folder: Path, cluster: Cluster | None = None) -> list[Table]:
    """At `cluster`, which runs, or at one of its own."""
    # Each edge would tell of each node that it leaves.
    logging.getLogger("face_messages").setLevel(logging.ERROR)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with ExitStack() as stack:
        if cluster is None:
            cluster = Cluster(folder)
            stack.callback(cluster.down)
            cluster.up()
        site = Site(cluster, folder, stack, edges=load.edges)
        return [_carried(site, load), _held_up(site, load)]


def _carried(site: Site, load: Load) -> Table:
    for edge in site.edges:
        edge.session.start()
    rows = [("all edges are connected after, s", f"{site.up():.1f}")]
    delays: list[float] = []
    with site.delays(delays):
        site.flow(load.seconds, load.rate)
    rows.append((f"{load.rate:.0f} faces/s: a face is stored after, s: median", f"{median(delays):.2f}"))
    rows.append(("99 %", f"{percentile(delays, 0.99):.2f}"))
    say("; ".join(": ".join(row) for row in rows))
    for savers in range(SAVERS, 0, -1):
        rows += _burst(site, load, savers)
    rows.append(("highest memory of a node, MB", f"{site.node_peak / 1e6:.0f}"))
    rows.append(("highest memory of a saver, MB", f"{site.saver_peak / 1e6:.0f}"))
    about = f"{load.edges} edges with TLS and certificates, faces of {PAYLOAD_BYTES:,} bytes, each of them stored once."
    return Table("Cluster: load", about, ["", "measured"], rows)


def _burst(site: Site, load: Load, savers: int) -> list[tuple[str, str]]:
    """All edges at once; the other savers are stopped meanwhile."""
    for stopped in site.savers[savers:]:
        stopped.terminate()
    count = load.burst * load.edges
    before, begin, delays = site.spent(), time.time(), list[float]()
    with site.delays(delays):
        for _ in range(load.burst):
            for edge in site.edges:
                site.make(edge)
    spent = {name: after - before[name] for name, after in site.spent().items()}
    site.note_memory()
    seconds = max(site.arrivals.at.values()) - begin
    for number in range(savers, SAVERS):
        site.savers[number] = site.new_saver()
    what = f"burst of {count:,}, savers: {savers}"
    rows = [
        (f"{what}: faces/s", f"{count / seconds:.0f}"),
        ("the slowest face is stored after, s", f"{max(delays):.1f}"),
        ("CPU time a face, all nodes, ms", f"{spent['nodes'] / count * 1000:.2f}"),
        ("CPU time a face, savers, ms", f"{spent['savers'] / count * 1000:.2f}"),
        ("faces sent again", f"{spent['resent']:.0f}"),
        ("sessions that left their node", f"{spent['connects']:.0f}"),
    ]
    say("; ".join(": ".join(row) for row in rows))
    return rows


Measure = Callable[[Site, Load, int], dict[str, float]]


def _held_up(site: Site, load: Load) -> Table:
    measured: dict[str, list[float]] = {}
    for number in range(load.rounds):
        # Frozen ones take longest to notice.
        cases = _CASES if number < load.frozen else {c: m for c, m in _CASES.items() if c != _FROZEN}
        for case, measure in cases.items():
            for what, seconds in measure(site, load, number).items():
                measured.setdefault(f"{case}: {what}", []).append(seconds)
                say(f"round {number + 1}: {case}: {what} after {seconds:.2f} s")
    site.note_memory()
    rows = [
        (what, f"{median(values):.2f}", " ".join(f"{value:.2f}" for value in sorted(values)))
        for what, values in measured.items()
    ]
    often = f"{load.rounds} times each (frozen: {load.frozen})"
    about = f"{often}, with {load.edges} edges and {load.rate:.0f} faces/s meanwhile."
    notes = [f"Highest memory of a node: {site.node_peak / 1e6:.0f} MB."]
    return Table("Cluster: how long faults hold faces up", about, ["seconds", "median", "all"], rows, notes)


def _node(lose: Callable[[Cluster, int], None], find: Callable[[Cluster, int], None]) -> Measure:
    """Faces are made before, meanwhile and after. Edges that were at the node go home afterwards."""

    def measure(site: Site, load: Load, number: int) -> dict[str, float]:
        node = number % len(NAMES)
        orphans = {edge: edge.session.connects for edge in site.edges if edge.node == node}
        took: list[float] = []

        def watch() -> None:
            # Docker's own time for it is in the figures. Faces go on.
            begin = time.monotonic()
            lose(site.cluster, node)
            wait(lambda: all(e.session.is_up and e.session.connects > n for e, n in orphans.items()), what="connected")
            took.append(time.monotonic() - begin)

        delays: list[float] = []
        with site.delays(delays):
            site.flow(1.0, load.rate)
            watching = threading.Thread(target=watch)
            watching.start()
            while watching.is_alive():
                site.flow(1.0, load.rate)
            site.flow(1.0, load.rate)
        find(site.cluster, node)
        site.cluster.wait(node)
        site.at_once(Edge.go_home)
        site.up()
        return {"its edges are connected again": took[0], "slowest face": max(delays)}

    return measure


def _saver_killed(site: Site, _: Load, number: int) -> dict[str, float]:
    """Until others hold what a killed one held, while the store stands still."""
    del number
    count, delays = 12 * SAVERS, list[float]()
    with site.delays(delays):
        site.s3.pause()
        for n in range(count):
            site.make(site.edges[n % len(site.edges)])
        wait(lambda: sum(map(site.held, site.savers)) == count, what="all faces held")
        killed = max(site.savers, key=site.held)
        others = [saver for saver in site.savers if saver is not killed]
        begin = time.monotonic()
        killed.kill()
        wait(lambda: sum(map(site.held, others)) == count, what="all faces held by the others")
        took = time.monotonic() - begin
        site.s3.resume()
    site.savers[site.savers.index(killed)] = site.new_saver()
    return {"the others have its share": took}


_FROZEN = "a node is frozen"
_CASES: dict[str, Measure] = {
    "a node is killed": _node(Cluster.kill, Cluster.start),
    _FROZEN: _node(Cluster.pause, Cluster.resume),
    "a saver is killed": _saver_killed,
}

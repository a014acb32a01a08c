"""`python -m dev.chaos`: kills, pauses and cuts everything while faces flow, and counts the arrived ones."""

import argparse
import math
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from dev.chaos.cluster import ClusterStage
from dev.chaos.faults import Fault, draw
from dev.chaos.stage import Stage
from dev.chaos.tally import Bucket, Tally, table, tally
from dev.stack.bundle import Bundle
from dev.stack.cluster import Cluster
from dev.stack.programs import in_images


def run(stage: Stage, faults: list[Fault], *, seconds: float, dry_seconds: float) -> Tally:
    """Play the faults, let everything run dry for `dry_seconds` at most, and count."""
    bucket = Bucket(stage.s3)
    try:
        stage.start()
        _play(stage, faults, seconds, bucket)
        for part in (*stage.links, *stage.processes):
            stage.mend(part)
        _say(f"production ends; {len(stage.numbers())} produced, {bucket.numbers().total()} stored")
        dry = _run_dry(stage, bucket, dry_seconds)
    finally:
        stage.stop()
    return tally(stage, bucket, dry=dry)


def _run_dry(stage: Stage, bucket: Bucket, timeout: float) -> float:
    """End production and wait until all is delivered; the seconds it took, infinite after `timeout`."""
    for producer in stage.producers.values():
        producer.finish()
    began = time.monotonic()
    while (seconds := time.monotonic() - began) < timeout:
        stage.note()
        ended = not any(producer.running for producer in stage.producers.values())
        if ended and stage.numbers() <= bucket.numbers().keys():
            return seconds
        time.sleep(0.05)
    return math.inf


def _play(stage: Stage, faults: list[Fault], seconds: float, bucket: Bucket) -> None:
    began = time.monotonic()
    # The faults and their ends, in the order of time.
    plan = sorted(
        [(f.at, False, f) for f in faults] + [(min(f.at + f.seconds, seconds), True, f) for f in faults],
        key=lambda step: step[:2],
    )
    broken = dict.fromkeys((fault.part for fault in faults), 0)
    last_said = 0.0
    for at, is_over, fault in [*plan, (seconds, True, None)]:
        while (left := at - (time.monotonic() - began)) > 0:
            time.sleep(min(left, 0.5))
            if time.monotonic() - last_said > 5:
                last_said = time.monotonic()
                produced, stored = len(stage.numbers()), bucket.numbers().total()
                _say(f"{last_said - began:5.0f} s  {produced} produced, {stored} stored")
        if fault is None:
            return
        broken[fault.part] += -1 if is_over else 1
        if not is_over:
            _say(f"{at:5.1f} s  {fault.kind}: {fault.part}, for {fault.seconds:.1f} s")
            stage.inflict(fault.kind, fault.part)
        elif not broken[fault.part]:
            stage.mend(fault.part)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run_seed(
    seed: int, folder: Path, given: argparse.Namespace, cluster: tuple[Cluster, list[Bundle]] | None
) -> Tally:
    common = {"rate": given.rate, "size": given.size, "savers": given.savers, "edges": given.edges}
    stage = ClusterStage(folder, *cluster, **common) if cluster else Stage(folder, **common, plain=given.plain)
    parts = {"processes": list(stage.processes), "links": list(stage.links), "members": stage.members}
    faults = draw(seed, seconds=given.seconds, kills=given.kills, nodes=stage.nodes, **parts)
    return run(stage, faults, seconds=given.seconds, dry_seconds=given.dry_seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws the faults")
    parser.add_argument("--seeds", type=int, default=1, help="number of runs, each with the next seed")
    parser.add_argument("--seconds", type=float, default=100, help="how long faces are produced")
    parser.add_argument("--rate", type=float, default=50, help="faces a second")
    parser.add_argument("--size", type=int, default=20_000, help="bytes of a face, from 100 on")
    parser.add_argument("--kills", type=int, default=30, help="number of kills; pauses and cuts come on top")
    parser.add_argument("--savers", type=int, default=1, help="savers; of several, some leave for good and others join")
    edges = "edges, each with a producer, a broker and a forwarder of its own; 3 with a cluster, else 1"
    parser.add_argument("--edges", type=int, default=0, help=edges)
    parser.add_argument("--dry-seconds", type=float, default=90, help="longest time to deliver the rest at the end")
    parser.add_argument("--plain", action="store_true", help="the same with a plain QoS 1 chain, for comparison")
    images = "forwarder and saver in their images, which must be built"
    parser.add_argument("--images", action="store_true", help=images)
    parser.add_argument("--folder", type=Path, help="keep everything there; by default a temporary folder, removed")
    parser.add_argument("--cluster", action="store_true", help="a cluster of RabbitMQ; needs a Docker engine and root")
    given = parser.parse_args()
    given.edges = given.edges or (3 if given.cluster else 1)
    if given.cluster and (given.plain or given.savers < 2):
        parser.error("--cluster: goes with --savers 2 or more, and not with --plain")
    if given.plain and given.savers > 1:
        parser.error("--plain: the plain chain has one saver")
    if given.size < 100:
        parser.error("--size: from 100 bytes on")
    tallies: dict[int, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary, ExitStack() as stack:
        folder, cluster = given.folder or Path(temporary), None
        if given.cluster:
            # The same nodes for all seeds, and what the forwarders are enrolled with.
            nodes = Cluster(folder)
            stack.callback(nodes.down)
            nodes.up()
            cluster = nodes, [nodes.enrol(f"edge{number + 1}") for number in range(given.edges)]
        stack.enter_context(in_images(given.images))
        for seed in range(given.seed, given.seed + given.seeds):
            tallies[seed] = result = _run_seed(seed, folder / f"seed{seed}", given, cluster)
            _say(f"seed {seed}: {'good' if result.is_good else 'NOT GOOD'}, {result.line()}")
    about = f"{given.rate:g} faces/s of {given.size:,} bytes for {given.seconds:g} s, with {given.kills} kills."
    print(table(tallies, about))
    bad = [seed for seed, result in tallies.items() if not result.is_good]
    if bad and not given.plain:
        _say(f"FAILED with --seed {', '.join(map(str, bad))}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m dev.chaos`: kills, pauses and cuts everything while faces flow, and counts what arrived."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from dev.chaos.faults import Fault, Kind, draw
from dev.chaos.stage import Stage
from dev.chaos.tally import Bucket, Tally, produced_numbers, table, tally
from dev.stack.programs import in_images


def run(stage: Stage, faults: list[Fault], *, seconds: float, dry_seconds: float) -> Tally:
    """Plays the faults, lets everything run dry for `dry_seconds` at most, and counts."""
    bucket = Bucket(stage)
    try:
        stage.start()
        _play(stage, faults, seconds, bucket)
        for part in (*stage.links, *stage.processes):
            stage.mend(part)
        _say(f"production ends; {len(produced_numbers(stage.journal))} produced, {bucket.numbers().total()} stored")
        finished: set[int] = set()

        def is_dry() -> bool:
            if stage.producer.running:
                return False
            if not finished:
                finished.update(produced_numbers(stage.journal))
            return finished <= bucket.numbers().keys()

        dry = stage.run_dry(is_dry=is_dry, timeout=dry_seconds)
    finally:
        stage.stop()
    return tally(stage, bucket, dry=dry)


def _play(stage: Stage, faults: list[Fault], seconds: float, bucket: Bucket) -> None:
    began = time.monotonic()
    # What is to happen, and then what is to be mended, in the order of time.
    plan = sorted(
        [(f.at, 0, f) for f in faults] + [(min(f.at + f.seconds, seconds), 1, f) for f in faults],
        key=lambda step: step[:2],
    )
    broken: dict[str, int] = {}
    last_said = 0.0
    for at, mending, fault in [*plan, (seconds, 1, None)]:
        while (left := at - (time.monotonic() - began)) > 0:
            time.sleep(min(left, 0.5))
            if time.monotonic() - last_said > 5:
                last_said = time.monotonic()
                produced = len(produced_numbers(stage.journal))
                _say(f"{last_said - began:5.0f} s  {produced} produced, {bucket.numbers().total()} stored")
        if fault is None:
            return
        if mending:
            broken[fault.part] -= 1
            if not broken[fault.part]:
                stage.mend(fault.part)
            continue
        broken[fault.part] = broken.get(fault.part, 0) + 1
        _say(f"{at:5.1f} s  {fault.kind}: {fault.part}, for {fault.seconds:.1f} s")
        if fault.kind is Kind.KILL:
            stage.kill(fault.part)
        elif fault.kind is Kind.LEAVE:
            stage.replace(fault.part)
        elif fault.kind is Kind.PAUSE:
            stage.pause(fault.part)
        else:
            stage.cut(fault.part, refuse=fault.kind is Kind.REFUSE, swallow=fault.kind is Kind.SWALLOW)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run_seed(seed: int, folder: Path, arguments: argparse.Namespace) -> Tally:
    stage = Stage(folder, rate=arguments.rate, size=arguments.size, savers=arguments.savers, plain=arguments.plain)
    faults = draw(
        seed,
        seconds=arguments.seconds,
        kills=arguments.kills,
        processes=list(stage.processes),
        links=list(stage.links),
        members=stage.members,
    )
    return run(stage, faults, seconds=arguments.seconds, dry_seconds=arguments.dry_seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws the faults")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from that one on")
    parser.add_argument("--seconds", type=float, default=100, help="how long faces are produced")
    parser.add_argument("--rate", type=float, default=50, help="faces a second")
    parser.add_argument("--size", type=int, default=20_000, help="bytes of a face")
    parser.add_argument("--kills", type=int, default=30, help="kills; pauses and cuts come on top")
    parser.add_argument("--savers", type=int, default=1, help="savers; of several, some leave for good and others join")
    parser.add_argument("--dry-seconds", type=float, default=90, help="how long it may take to run dry")
    parser.add_argument("--plain", action="store_true", help="the same with a plain QoS 1 chain, for comparison")
    parser.add_argument(
        "--images", action="store_true", help="forwarder and saver in their images, which must be built"
    )
    parser.add_argument("--folder", type=Path, help="where all of it is left to look at; a temporary one otherwise")
    arguments = parser.parse_args()
    if arguments.plain and arguments.savers > 1:
        parser.error("--plain: the plain chain has one saver")
    tallies: dict[int, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            with in_images(arguments.images):
                result = _run_seed(seed, (arguments.folder or Path(temporary)) / f"seed{seed}", arguments)
            tallies[seed] = result
            _say(f"seed {seed}: {'good' if result.is_good else 'NOT GOOD'}, {result.line()}")
    print(table(tallies))
    bad = [seed for seed, result in tallies.items() if not result.is_good]
    if bad and not arguments.plain:
        _say(f"FAILED with --seed {', '.join(map(str, bad))}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks [detector|forwarder|saver|path] [--quick]`: see `--help`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import detector, forwarder, machine, path, saver
from benchmarks.measure import FULL, QUICK, BenchmarkError, Scale, Table
from local_stack.processes import ProcessError

BENCHMARKS: dict[str, Callable[[Scale, Path, list[Path]], list[Table]]] = {
    "detector": detector.run,
    "forwarder": lambda scale, folder, _clips: forwarder.run(scale, folder),
    "saver": lambda scale, folder, _clips: saver.run(scale, folder),
    "path": lambda scale, folder, _clips: path.run(scale, folder),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the programs and their peers in the same run, by turns, and prints Markdown tables.",
        epilog="Machines differ: quote the ratios, and only from a machine that has nothing else to do, as other work"
        " slows what keeps all cores busy the most.",
    )
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="only this one")
    parser.add_argument("--quick", action="store_true", help="one short round each: shows that it works, not how fast")
    parser.add_argument("--clip", nargs="+", type=Path, default=[], metavar="FILE", help="further clips, for detector")
    given = parser.parse_args()
    if missing := [str(clip) for clip in given.clip if not clip.is_file()]:
        parser.error(f"--clip: there is no file {', '.join(missing)}")
    scale = QUICK if given.quick else FULL
    load_before = machine.load()
    tables: list[Table] = []
    try:
        for name in [given.name] if given.name else BENCHMARKS:
            with tempfile.TemporaryDirectory(prefix="facedetection-benchmark-") as folder:
                tables += BENCHMARKS[name](scale, Path(folder), given.clip)
    except (BenchmarkError, ProcessError, FileNotFoundError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(machine.describe(load_before=load_before))
    for table in tables:
        print(f"\n{table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

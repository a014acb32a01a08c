"""`python -m dev.bench [NAME] [--quick]`: see `--help`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dev.bench import cameras, client, detector, forwarder, gallery, images, machine, outage, path, saver, stills
from dev.bench.films import SMALLEST
from dev.bench.measure import FULL, QUICK, BenchmarkError, Scale, Table
from dev.stack.processes import ProcessError
from dev.stack.programs import in_images

BENCHMARKS: dict[str, Callable[[Scale, Path, argparse.Namespace], list[Table]]] = {
    "detector": lambda scale, folder, given: (
        images.run(scale, folder) if given.images else detector.run(scale, folder, given.clip)
    ),
    "stills": lambda _scale, _folder, given: stills.run(given.labels, smallest=given.smallest),
    "client": lambda scale, _folder, _given: client.run(scale),
    "forwarder": lambda scale, folder, given: forwarder.run(scale, folder, images=given.images),
    "saver": lambda scale, folder, given: saver.run(scale, folder, images=given.images),
    "path": lambda scale, folder, given: _in_and_out(lambda place: path.run(scale, place), folder, given),
    "cameras": lambda scale, folder, _given: cameras.run(scale, folder),
    "gallery": lambda scale, folder, _given: gallery.run(scale, folder),
    "outage": lambda _scale, folder, given: _inside(lambda: outage.run(_outage(given), folder), given),
}
# Of the others one wants labels, one wants a browser, and one takes minutes and gigabytes.
UNLESS_NAMED = ("detector", "client", "forwarder", "saver", "path", "cameras")
IN_IMAGES = ("detector", "forwarder", "saver", "path", "outage")


def _in_and_out(measure: Callable[[Path], list[Table]], folder: Path, given: argparse.Namespace) -> list[Table]:
    """Its tables; first of the images, where they are wanted."""
    places = [(True, ", images"), (False, ", native")] if given.images else [(False, "")]
    tables = []
    for inside, name in places:
        with tempfile.TemporaryDirectory(dir=folder) as place, in_images(inside):
            tables += [replace(table, title=table.title + name) for table in measure(Path(place))]
    return tables


def _inside(measure: Callable[[], list[Table]], given: argparse.Namespace) -> list[Table]:
    with in_images(given.images):
        return measure()


def _outage(given: argparse.Namespace) -> outage.Outage:
    return outage.Outage(given.faces or (2_000 if given.quick else 100_000), given.size, given.rate)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dev.bench",
        description="Measures the programs and their peers in the same run, by turns, and prints Markdown tables.",
        epilog="Machines differ: quote the ratios, and only from a machine that has nothing else to do, as other work"
        " slows what keeps all cores busy the most.",
    )
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="only this one; else all but outage")
    parser.add_argument("--quick", action="store_true", help="one short round each: shows that it works, not how fast")
    parser.add_argument(
        "--images",
        action="store_true",
        help="the programs in their images, which must be built, and on this machine beside them; of "
        + ", ".join(IN_IMAGES),
    )
    parser.add_argument("--clip", nargs="+", type=Path, default=[], metavar="FILE", help="further clips, for detector")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FOLDER",
        help=f"stills: pictures and their {stills.LABELS} (picture,x,y,width,height)",
    )
    parser.add_argument(
        "--smallest", type=int, default=SMALLEST, help="stills: smallest face that counts, in pixels (%(default)s)"
    )
    parser.add_argument("--faces", type=int, help="outage: faces that come in meanwhile (default: 100000)")
    parser.add_argument("--size", type=int, default=20_000, help="outage: bytes of a face (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0, help="outage: faces a second (default: all that are taken)")
    given = parser.parse_args()
    if missing := [str(clip) for clip in given.clip if not clip.is_file()]:
        parser.error(f"--clip: there is no file {', '.join(missing)}")
    if given.smallest < 1 or (given.name == "stills" and given.labels is None):
        parser.error("stills: --labels FOLDER is needed, and --smallest is from 1 on")
    if given.size < 100 or given.rate < 0 or (given.faces is not None and given.faces < 1000):
        parser.error("outage: --faces from 1000 on, --size from 100 bytes on, --rate from 0 on")
    if given.images and given.name is not None and given.name not in IN_IMAGES:
        parser.error(f"--images: for {', '.join(IN_IMAGES)} alone")
    scale = QUICK if given.quick else FULL
    unless_named = IN_IMAGES if given.images else UNLESS_NAMED + ("stills",) * (given.labels is not None)
    load_before = machine.load()
    tables: list[Table] = []
    try:
        for name in [given.name] if given.name else unless_named:
            with tempfile.TemporaryDirectory(prefix="facedetection-benchmark-") as folder:
                tables += BENCHMARKS[name](scale, Path(folder), given)
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

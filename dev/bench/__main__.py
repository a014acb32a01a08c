"""`python -m dev.bench [NAME] [--quick]`: see `--help`."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dev.bench import cameras, client, cluster, detector, forwarder, others, outage, path, saver, stills
from dev.bench.films import SMALLEST
from dev.bench.measure import FULL, QUICK, BenchmarkError, Scale
from dev.bench.people import HALVES
from dev.stack.figures import Table
from dev.stack.mosquitto import find_mosquitto
from dev.stack.processes import ProcessError
from dev.stack.programs import in_images
from dev.stack.s3 import find_rclone
from edge_face_detection.opencv import cv2

# Unless one is named. The others want labels, a browser or a Docker engine, or take minutes and gigabytes.
UNLESS_NAMED = ("detector", "client", "forwarder", "saver", "path", "cameras")
IN_IMAGES = ("detector", "forwarder", "saver", "path", "outage")


def _gallery(scale: Scale, folder: Path, _given: Namespace) -> list[Table]:
    from dev.bench import gallery  # noqa: PLC0415 - the others do without Playwright, one of the test tools

    return gallery.run(scale, folder)


def _detector(scale: Scale, folder: Path, given: Namespace) -> list[Table]:
    return detector.run_in_image(scale, folder) if given.images else detector.run(scale, folder, given.clip)


def _outage(_scale: Scale, folder: Path, given: Namespace) -> list[Table]:
    faces = given.faces or (2_000 if given.quick else 100_000)
    return outage.run(folder, faces=faces, size=given.size, rate=given.rate)


def _cluster(_scale: Scale, folder: Path, given: Namespace) -> list[Table]:
    load = cluster.QUICK if given.quick else cluster.FULL
    rounds = given.rounds or load.rounds
    return cluster.run(replace(load, edges=given.edges or load.edges, rounds=rounds), folder)


BENCHMARKS: dict[str, Callable[[Scale, Path, Namespace], list[Table]]] = {
    "detector": _detector,
    "stills": lambda _scale, _folder, given: stills.run(given.labels, smallest=given.smallest),
    "others": lambda _scale, _folder, given: others.run(given.clips, given.half),
    "client": lambda scale, _folder, _given: client.run(scale),
    "forwarder": lambda scale, _folder, given: forwarder.run(scale, images=given.images),
    "saver": lambda scale, folder, given: saver.run(scale, folder, images=given.images),
    "path": lambda scale, folder, _given: path.run(scale, folder),
    "cameras": lambda scale, folder, _given: cameras.run(scale, folder),
    "gallery": _gallery,
    "cluster": _cluster,
    "outage": _outage,
}


def _parse() -> Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.bench",
        description="Measures the programs and their peers in the same run, by turns, and prints Markdown tables.",
        epilog="Machines differ: quote the ratios, and only from a machine that has nothing else to do, as other work"
        " slows a program that keeps all cores busy the most.",
    )
    add = parser.add_argument
    add("name", nargs="?", choices=BENCHMARKS, help="only this one; by default " + ", ".join(UNLESS_NAMED))
    add("--quick", action="store_true", help="one short round each: shows that it works, not how fast")
    images = (
        "the programs in their images, which must be built (but for path and outage, on this machine beside them): "
    )
    add("--images", action="store_true", help=images + ", ".join(IN_IMAGES))
    add("--clip", nargs="+", type=Path, default=[], metavar="FILE", help="further clips, for detector")
    labels = f"stills: pictures and their {stills.LABELS} (picture,x,y,width,height)"
    add("--labels", type=Path, metavar="FOLDER", help=labels)
    smallest = "stills: smallest face that counts, in pixels (%(default)s)"
    add("--smallest", type=int, default=SMALLEST, help=smallest)
    add("--clips", type=Path, metavar="FOLDER", help="others: clips of many people, whose faces are cut out")
    add("--half", choices=HALVES, default=HALVES[1], help="others: which half of the people (%(default)s)")
    add("--faces", type=int, help="outage: faces that come in meanwhile (default: 100000)")
    add("--edges", type=int, help=f"cluster: edges at once, from 3 on (default: {cluster.FULL.edges})")
    add("--rounds", type=int, help=f"cluster: of each fault (default: {cluster.FULL.rounds})")
    add("--size", type=int, default=20_000, help="outage: bytes of a face (default: %(default)s)")
    add("--rate", type=float, default=0, help="outage: faces a second (default: as many as the forwarder takes)")
    given = parser.parse_args()
    if missing := [str(clip) for clip in given.clip if not clip.is_file()]:
        parser.error(f"--clip: there is no file {', '.join(missing)}")
    if given.smallest < 1 or (given.name == "stills" and given.labels is None):
        parser.error("stills: --labels FOLDER is needed, and --smallest is from 1 on")
    if given.name == "others" and (given.clips is None or not given.clips.is_dir()):
        parser.error("others: --clips FOLDER is needed")
    if given.size < 100 or given.rate < 0 or (given.faces is not None and given.faces < 1000):
        parser.error("outage: --faces from 1000 on, --size from 100 bytes on, --rate from 0 on")
    if given.edges is not None and given.edges < 3:
        parser.error("cluster: --edges from 3 on")
    if given.rounds is not None and given.rounds < 1:
        parser.error("cluster: --rounds from 1 on")
    if given.images and given.name is not None and given.name not in IN_IMAGES:
        parser.error(f"--images: for {', '.join(IN_IMAGES)} alone")
    return given


def _load() -> str:
    """Processes that ran or wanted to, over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _machine(*, load_before: str) -> str:
    """The machine and the versions that were measured, as two lines of Markdown."""

    def first_line(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]

    # Where the model is not told (on ARM, for one), the architecture must do.
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0))
    s5cmd = saver.find_s5cmd()
    versions = [f"Python {platform.python_version()}", f"OpenCV {cv2.__version__}", first_line(find_mosquitto(), "-h")]
    versions += [first_line(find_rclone(), "version"), f"s5cmd {first_line(s5cmd, 'version')}" if s5cmd else "no s5cmd"]
    hardware = f"{next(models, platform.machine())}, {cores} cores, {platform.system()} {platform.release()}"
    return f"{hardware}; load {load_before} before, {_load()} after\n\n{'; '.join(versions)}"


def main() -> int:
    given = _parse()
    scale = QUICK if given.quick else FULL
    unless_named = IN_IMAGES if given.images else UNLESS_NAMED + ("stills",) * (given.labels is not None)
    load_before = _load()
    tables: list[Table] = []
    try:
        for name in [given.name] if given.name else unless_named:
            with (
                tempfile.TemporaryDirectory(prefix="facedetection-benchmark-") as folder,
                in_images(given.images and name in ("path", "outage")),
            ):
                tables += BENCHMARKS[name](scale, Path(folder), given)
    except (BenchmarkError, ProcessError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(_machine(load_before=load_before))
    for table in tables:
        print(f"\n{table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

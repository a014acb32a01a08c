"""Measuring by turns."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from dev.stack.processes import ManagedProcess, ProcessError
from dev.stack.programs import in_images

Figures = dict[str, float]
Measurement = Callable[[Path], Figures]


class BenchmarkError(RuntimeError):
    """A measurement failed; the text names it and the cause."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Rounds, messages through the forwarder, objects through the saver, and seconds of faces on the whole path."""

    rounds: int
    messages: int
    objects: int
    seconds: int


FULL = Scale(rounds=3, messages=10_000, objects=5_000, seconds=30)
QUICK = Scale(rounds=1, messages=400, objects=150, seconds=2)


def say(line: str) -> None:
    """How far it is; the tables alone go to standard output."""
    print(line, file=sys.stderr, flush=True)


def by_turns(what: str, rounds: int, contestants: Mapping[str, Measurement], *, show: str) -> dict[str, list[Figures]]:
    """Measure all contestants, then all again: other work on the machine hits each alike.

    Each measurement has an empty folder, which is removed afterwards. Each result's figure `show` goes to stderr.
    """
    measured: dict[str, list[Figures]] = {name: [] for name in contestants}
    for number in range(1, rounds + 1):
        for name, measure in contestants.items():
            with TemporaryDirectory(prefix="facedetection-benchmark-") as folder:
                measured[name].append(measure(Path(folder)))
            figure = measured[name][-1][show]
            say(f"{what}, round {number} of {rounds}: {name}: {show} {figure:.4g}")
    return measured


def in_and_out(name: str, measure: Measurement, *, images: bool) -> dict[str, Measurement]:
    """A contestant; with `images` two, first its program in its image, then on this machine."""

    def inside(folder: Path) -> Figures:
        with in_images():
            return measure(folder)

    return {f"{name}, image": inside, f"{name}, native": measure} if images else {name: measure}


def middle(rounds: Sequence[Figures], name: str, digits: int = 0) -> str:
    return f"{median(figures[name] for figures in rounds):,.{digits}f}"


def cells(rounds: Sequence[Figures], digits: int, *names: str) -> list[str]:
    """`middle` of each figure; empty for those that are not there."""
    return [middle(rounds, name, digits) if name in rounds[0] else "" for name in names]


def ratio(ours: Sequence[Figures], peer: Sequence[Figures], name: str) -> str:
    """The median of the rounds' ratios, with the lowest and the highest."""
    ratios = [a[name] / b[name] for a, b in zip(ours, peer, strict=True)]
    spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{median(ratios):.2f}{spread}"


def wait_until(
    reached: Callable[[], bool],
    *,
    what: str,
    seconds: float = 120,
    watched: Sequence[ManagedProcess] = (),
    period: float = 0.1,
) -> None:
    """Look every `period` seconds, at the watched processes' memory too: their peaks are gone when they are.

    Raises BenchmarkError after so many seconds, and ProcessError when one of the watched dies.
    """
    deadline = time.monotonic() + seconds
    while not reached():
        for process in watched:
            process.peak_rss_bytes()
            if not process.running and not reached():
                raise ProcessError(process.describe_end())
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what}: not reached in {seconds:.0f} s")
        time.sleep(period)
    for process in watched:
        process.peak_rss_bytes()


def wait_for_end(process: ManagedProcess) -> None:
    """Wait until it ends by itself, and look at its memory meanwhile. Raises BenchmarkError when it fails."""
    while process.running:
        process.peak_rss_bytes()
        process.wait(0.05)
    if process.poll() != 0:
        raise BenchmarkError(process.describe_end())


def mebibytes(process: ManagedProcess) -> float:
    """The most resident memory it had."""
    return process.peak_rss_bytes() / 2**20


class CpuMeter:
    """CPU time (user and system) that processes use from here on."""

    def __init__(self, **processes: ManagedProcess) -> None:
        self._processes = processes
        self._before = {name: process.cpu_seconds() for name, process in processes.items()}

    def per(self, count: int) -> Figures:
        """`cpu_<name>`: milliseconds for each of `count` things."""
        used = {name: process.cpu_seconds() - self._before[name] for name, process in self._processes.items()}
        return {f"cpu_{name}": seconds / count * 1000 for name, seconds in used.items()}

"""The protocol as a model, of which Spin tries everything that can happen: docs/custody.pml."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.programs import ROOT

MODEL = ROOT / "docs/custody.pml"
SAFETY, LIVENESS = "safety", "liveness"
# Hops, messages, and the window of a hop.
SIZES = [(1, 2, 1), (1, 2, 2), (2, 1, 1)]
MEGABYTES = 1000


@dataclass(frozen=True, slots=True)
class Search:
    """What Spin found."""

    states: int
    errors: int
    text: str


# A search of minutes in all depends on nothing but the model, how it is called, and this file.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge_face_detection/spin"
_THIS = hashlib.sha256(Path(__file__).read_bytes() + MODEL.read_bytes()).hexdigest()[:16]


def search(folder: Path, prove: str, size: tuple[int, int, int], mutant: int = 0) -> Search:
    """What Spin found when it last searched this model so; else it searches now."""
    kept = _CACHE / f"{_THIS}-{prove}-{'-'.join(map(str, size))}-{mutant}.txt"
    if not kept.exists():
        text = searched(folder, prove, size, mutant)
        _CACHE.mkdir(parents=True, exist_ok=True)
        fresh = _CACHE / f"{kept.name}.{os.getpid()}"
        fresh.write_text(text)
        fresh.replace(kept)
    text = kept.read_text()
    states, errors = re.search(r"(\d+) states, stored", text), re.search(r"errors: (\d+)", text)
    assert states is not None, text
    assert errors is not None, text
    return Search(int(states[1]), int(errors[1]), text)


def searched(folder: Path, prove: str, size: tuple[int, int, int], mutant: int) -> str:
    """Tries everything in a model of this size, or everything until the first error."""
    assert shutil.which("spin"), "spin is not installed: dev/scripts/need.sh spin gcc"
    hops, messages, window = size
    settings = [f"-DHOPS={hops}", f"-DN={messages}", f"-DWINDOW={window}", f"-DMUTANT={mutant}"]
    if prove == LIVENESS:
        settings.append("-DLIVENESS")
    kind, option = (["-DSAFETY"], []) if prove == SAFETY else ([], ["-a"])
    for command in (
        ["spin", *settings, "-a", str(MODEL)],
        ["gcc", "-w", "-O2", f"-DMEMLIM={MEGABYTES}", *kind, "-o", "pan", "pan.c"],
    ):
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
    pan = ["./pan", "-m500000", "-w22", *option]
    return subprocess.run(pan, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("prove", [SAFETY, LIVENESS])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{} hops, {} messages, window {}".format(*size))
def test_nothing_is_lost_and_everything_arrives_whatever_fails(
    tmp_path: Path, prove: str, size: tuple[int, int, int]
) -> None:
    """Safety: what a sender discards is kept further on, and nothing is kept twice. Liveness: it ends in the bucket."""
    found = search(tmp_path, prove, size)
    print(f"{prove}, {size[0]} hops, {size[1]} messages, window {size[2]}: {found.states} states")
    assert found.errors == 0, found.text
    # It would say 0 errors as well had it given up half-way.
    assert not re.search(r"search depth too small|reached -DMEMLIM|out of memory|interrupted", found.text), found.text
    assert found.states > 50_000


@pytest.mark.parametrize(
    ("prove", "mutant", "error"),
    [
        pytest.param(SAFETY, 1, "kept[", id="a receipt before the commit"),
        pytest.param(SAFETY, 2, "kept[", id="discarded on a PUBACK"),
        pytest.param(SAFETY, 3, "==1)", id="an id kept twice"),
        pytest.param(LIVENESS, 4, "acceptance cycle", id="nothing sent again"),
        pytest.param(LIVENESS, 5, "acceptance cycle", id="no last resort"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, prove: str, mutant: int, error: str) -> None:
    """So the model can fail, and each of the rules is needed."""
    found = search(tmp_path, prove, (1, 1, 1), mutant)
    assert found.errors == 1, found.text
    assert error in found.text.splitlines()[0], found.text


def test_the_last_resort_alone_would_do(tmp_path: Path) -> None:
    """All other resending only makes it quick."""
    assert search(tmp_path, LIVENESS, (1, 2, 2), mutant=6).errors == 0

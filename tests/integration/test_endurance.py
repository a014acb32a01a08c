"""A detector's memory does not grow, whatever its camera shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.alone
def test_memory_stays_flat_over_thousands_of_frames() -> None:
    """Faces come and go, sizes change, JPEGs are damaged; with 100000 for 4000 it is the same, but takes minutes."""
    command = [sys.executable, "-m", "tests.support.endurance", "4000"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    steps = [[int(value) for value in line.split()] for line in done.stdout.splitlines()]
    assert steps[-1][0] == 4000
    _, kilobytes, faces, unreadable = zip(*steps, strict=True)
    assert faces[-1] > 500
    assert unreadable[-1] > 0
    # Caches fill at first.
    assert max(kilobytes) - kilobytes[3] < 1024

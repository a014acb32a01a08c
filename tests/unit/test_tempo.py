"""The switch by which tests' programs wait for less time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from face_messages.service.tempo import SWITCH

ASK = """
from face_messages.service.backoff import Backoff
from face_messages.service.health import SILENT_SECONDS
print(Backoff.scale, SILENT_SECONDS)
"""


def told(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("set_to", "scale"), [("", 1.0), ("0.2", 0.2), ("0", 0.01), ("50", 1.0)])
def test_in_tests_back_off_and_silence_take_a_part_of_their_time(set_to: str, scale: float) -> None:
    """Never none of it, and never more than all of it."""
    done = told(**{SWITCH: set_to, "PYTEST_CURRENT_TEST": "yes"})
    assert done.stdout == f"{scale} {25.0 * scale}\n", done.stderr


def test_elsewhere_a_program_does_not_start_with_it() -> None:
    """It would press brokers and stores, and call edges silent that are not."""
    done = told(**{SWITCH: "0.2"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{SWITCH} is for tests alone: unset it\n"

"""A program hears the signal that is to end it, whenever that comes."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from face_messages.service.program import Stop
from tests.support.metrics import ROOT

# Another thread takes the signal, so nothing wakes the main one: just as where it comes in the instant before that
# falls asleep.
MISSED = """
import os, signal, sys, threading
from face_messages.service.program import Stop

stop, asleep = Stop(), threading.Event()
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop.set).start())

def kill():
    asleep.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()

threading.Thread(target=kill, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
threading.Timer(0.2, asleep.set).start()
sys.exit(0 if stop.wait(TIMEOUT) else 1)
"""


@pytest.mark.parametrize("timeout", ["None", "600"])
def test_a_signal_that_wakes_nobody_is_heard(timeout: str) -> None:
    program = [sys.executable, "-c", MISSED.replace("TIMEOUT", timeout)]
    assert subprocess.run(program, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_it_waits_as_long_as_it_is_told() -> None:
    stop, begin = Stop(), time.monotonic()
    assert not stop.wait(0)
    assert not stop.wait(0.05)
    assert time.monotonic() - begin >= 0.05
    stop.set()
    assert stop.wait(0)
    assert stop.wait()

"""A line a minute about a backlog, while there is one."""

from __future__ import annotations

import logging
import threading
import time

from face_messages.outbox import Outbox

log = logging.getLogger(__name__)

# Fewer messages than this, or younger ones, are no backlog but everyday life.
_MESSAGES = 500
_SECONDS = 30.0


def report_backlog(outbox: Outbox, stop: threading.Event, *, every: float = 60.0) -> None:
    """Logs how much waits and how long that will take, every `every` seconds until `stop` is set."""
    confirmed, since = outbox.confirmed, time.monotonic()
    reported = False
    while not stop.wait(every):
        now = time.monotonic()
        rate = (outbox.confirmed - confirmed) / (now - since)
        confirmed, since = outbox.confirmed, now
        waiting = len(outbox)
        if waiting < _MESSAGES and outbox.oldest_age() < _SECONDS:
            if reported:
                log.info("the backlog is gone: %d messages wait", waiting)
            reported = False
            continue
        reported = True
        left = f"about {_duration(waiting / rate)} left" if rate else "none was confirmed in the last minute"
        log.info("%d messages wait (%.1f MB); %.1f/s are confirmed, %s", waiting, outbox.bytes_used / 1e6, rate, left)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

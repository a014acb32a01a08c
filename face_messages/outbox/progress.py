"""A line a minute about a backlog, while there is one."""

import logging
import threading
import time
from dataclasses import dataclass

from face_messages.outbox.outbox import Outbox

log = logging.getLogger(__name__)

# This many messages are a backlog, however fast they go. Fewer are one when some wait from one look to the next.
_MESSAGES = 500
# Intervals over which rates are averaged: a link that comes and goes has both in them.
_INTERVALS = 5


@dataclass(frozen=True, slots=True)
class Look:
    """An outbox at the moment `at` (monotonic seconds): what waits, and what it has counted since its start."""

    at: float
    waiting: int
    bytes: int
    confirmed: int
    overwritten: int = 0


class Backlog:
    """Makes lines of looks at an outbox."""

    def __init__(self, first: Look) -> None:
        self._looks = [first]
        self._reported = False

    def line(self, now: Look) -> str | None:
        """What there is to say, or None."""
        first, last = self._looks[0], self._looks[-1]
        if first.confirmed == now.confirmed:
            del self._looks[1:]  # it stands still since then
        elif first.confirmed == last.confirmed:
            del self._looks[:-1]  # it goes again: how long it stood still says nothing about how long the rest takes
        else:
            del self._looks[:-_INTERVALS]
        gone = now.confirmed - last.confirmed + now.overwritten - last.overwritten
        line = f"the backlog is gone: {now.waiting} messages wait" if self._reported else None
        self._reported = now.waiting >= _MESSAGES or min(now.waiting, last.waiting - gone) > 0
        if self._reported:
            line = f"{now.waiting} messages wait ({now.bytes / 1e6:.1f} MB); {_outlook(self._looks[0], now)}"
        if not now.waiting:
            self._looks.clear()
        self._looks.append(now)
        return line


def _outlook(first: Look, now: Look) -> str:
    seconds = now.at - first.at
    confirmed, overwritten = now.confirmed - first.confirmed, now.overwritten - first.overwritten
    came = max(0, now.waiting - first.waiting + confirmed + overwritten)
    goes = f"{confirmed / seconds:.1f}/s are confirmed" if confirmed else f"none was confirmed in {_duration(seconds)}"
    parts = [goes, f"{came / seconds:.1f}/s come in"]
    if overwritten:
        parts.append(f"{overwritten} were overwritten")
    elif came > confirmed:
        parts.append("growing")
    if confirmed > came:
        parts.append(f"about {_duration(now.waiting / (confirmed - came) * seconds)} left")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def report_backlog(outbox: Outbox, stop: threading.Event, *, every: float = 60.0) -> None:
    """Logs how much waits and how long that will take, every `every` seconds until `stop` is set."""

    def look() -> Look:
        return Look(time.monotonic(), len(outbox), outbox.totals.bytes, outbox.confirmed, outbox.overwritten)

    backlog = Backlog(look())
    while not stop.wait(every):
        if (line := backlog.line(look())) is not None:
            log.info("%s", line)

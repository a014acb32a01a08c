"""Whose clock is wrong, and by how much: faces are filed by the cameras' time, and latencies count from it."""

import logging
import threading

from face_messages.service.health import CLOCK_SECONDS

log = logging.getLogger(__name__)

_MAX = 500
# A clock that is well may be ahead by this much, in seconds.
_JITTER = 1.0


class Clocks:
    """Remembers errors of clocks, in seconds ahead of ours (negative: behind). Safe to use from many threads."""

    def __init__(self) -> None:
        self._errors: dict[str, float] = {}
        self._lock = threading.Lock()

    def __str__(self) -> str:
        with self._lock:
            return "; ".join(_said(name, error) for name, error in sorted(self._errors.items())) or "well"

    def hear(self, name: str, error: float) -> None:
        """Takes the error of a clock, 0 where it is right; logs when that changes."""
        with self._lock:
            known = self._errors.pop(name, 0.0)
            if error and len(self._errors) < _MAX:
                self._errors[name] = error
        if error and not known:
            log.warning(
                "%s: set it by NTP (timedatectl set-ntp true). Its faces are filed under its time", _said(name, error)
            )
        elif known and not error:
            log.info("the clock of %s is right again", name)

    def latency(self, edge: str, camera: str, seconds: float) -> float | None:
        """A face's seconds from capture to storage; None where a wrong clock has stamped the face."""
        ahead = -seconds if seconds < -CLOCK_SECONDS else 0.0
        name = f"{edge}/{camera}"
        by_faces = f"{name} (by its faces)"
        if ahead or by_faces in self._errors:
            self.hear(by_faces, ahead)
        is_wrong = seconds < -_JITTER or edge in self._errors or name in self._errors
        return None if is_wrong else max(0.0, seconds)


def _said(name: str, error: float) -> str:
    amount, way = abs(error), "ahead" if error > 0 else "behind"
    for unit, size in (("years", 31_557_600), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if amount >= 2 * size:
            return f"the clock of {name} is {amount / size:.0f} {unit} {way}"
    return f"the clock of {name} is {amount:.0f} seconds {way}"

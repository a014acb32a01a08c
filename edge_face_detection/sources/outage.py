"""What the log says of a camera that is away: a line when it goes, and one when it is back."""

import logging
import time

# A camera that comes and goes is reported no more often than this.
WARNING_INTERVAL_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Outage:
    """A camera's outage, or none."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._since: float | None = None
        self._is_told = False
        self._told_at = float("-inf")
        #: Why the camera is away; None while it is not.
        self.reason: str | None = None

    @property
    def seconds(self) -> float:
        """How long it has lasted; 0 while there is none."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def failed(self, reason: str) -> None:
        self.reason = reason
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if not self._is_told and now - self._told_at >= WARNING_INTERVAL_SECONDS:
            self._is_told, self._told_at = True, now
            _log.warning("Camera %s is down, retrying until it is back: %s", self._description, reason)

    def ended(self, *, silently: bool = False) -> None:
        if self._is_told and not silently:
            _log.info("Camera %s is up after %.1f s", self._description, self.seconds)
        self._since = self.reason = None
        self._is_told = False

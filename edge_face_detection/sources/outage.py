"""What is said of a camera that is away."""

import logging
import time

__all__ = ["Outage"]

# A camera that comes and goes is reported no more often than this.
WARNING_INTERVAL_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Outage:
    """Tells of an outage once when it begins and once when it is over."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._since: float | None = None
        self._told = False
        self._last_warning = float("-inf")
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
        if not self._told and now - self._last_warning >= WARNING_INTERVAL_SECONDS:
            _log.warning("Camera %s is down, trying again until it is back: %s", self._description, reason)
            self._told = True
            self._last_warning = now

    def ended(self) -> None:
        if self._told:
            _log.info("Camera %s is up after %.1f s", self._description, self.seconds)
        self.forget()

    def forget(self) -> None:
        """It is over, and nothing to tell of."""
        self._since = self.reason = None
        self._told = False

"""How long a receipt takes, and so when its absence means something."""

from __future__ import annotations

import random

_LONGEST = 300.0


class ResendTimer:
    """The patience of a sender: the smoothed round trip plus four times its variation, as TCP's (RFC 6298).

    What is sent more than once is not measured (Karn's algorithm, section 3), and each question that stays without an
    answer doubles the patience (section 5.5).

    Args:
        at_least: bounds between which the shortest patience is drawn, in seconds.

    """

    def __init__(self, at_least: tuple[float, float]) -> None:
        self._at_least = at_least
        self._smoothed: float | None = None
        self._variation = 0.0
        self._last_receipt = 0.0
        self._newest_confirmed = float("-inf")
        self._since = 0.0
        self.timeout = self._draw()

    def _draw(self) -> float:
        floor = random.uniform(*self._at_least)  # noqa: S311 - jitter needs no secrecy
        measured = 0.0 if self._smoothed is None else self._smoothed + 4 * self._variation
        return min(max(floor, measured), _LONGEST)

    def resumed(self, now: float) -> None:
        """The link is new: all that is on it starts afresh."""
        self._since = now
        self.timeout = self._draw()

    def confirmed(self, now: float, sent_at: float, *, first_try: bool) -> None:
        """A receipt for a message sent at `sent_at` has come."""
        if first_try:
            sample = now - sent_at
            if self._smoothed is None:
                self._smoothed, self._variation = sample, sample / 2
            else:
                self._variation += (abs(self._smoothed - sample) - self._variation) / 4
                self._smoothed += (sample - self._smoothed) / 8
        if now - self._last_receipt > self.timeout / 2:
            # The keeper was held up and goes on now; what waited with it gets its time.
            self._since = now
            self.timeout = self._draw()
        self._last_receipt = now
        self._newest_confirmed = max(self._newest_confirmed, sent_at)

    def asked(self, now: float) -> None:
        """A message was sent again for want of any receipt."""
        self._since = now
        self.timeout = min(2 * self.timeout, _LONGEST)

    @property
    def usual(self) -> float | None:
        """Seconds within which nearly all receipts come; None while that is not known."""
        return None if self._smoothed is None else self._smoothed + 4 * self._variation

    def is_overdue(self, now: float, sent_at: float) -> bool:
        return now - max(sent_at, self._since) >= self.timeout

    def is_flowing(self, sent_at: float) -> bool:
        """Whether something sent later than `sent_at` has been confirmed, and not before the last silence."""
        return self._newest_confirmed > sent_at and self._last_receipt >= self._since

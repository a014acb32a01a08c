"""How long a receipt takes, and so when its absence means something."""

import random

_LONGEST = 300.0


class ResendTimer:
    """Times out after the smoothed round trip plus four times its variation, as TCP's (RFC 6298).

    What is sent more than once is not measured (Karn's algorithm, section 3), and each question that stays without an
    answer doubles the timeout (section 5.5). `at_least` bounds the shortest timeout, in seconds; drawn anew each time.
    """

    def __init__(self, at_least: tuple[float, float]) -> None:
        self._at_least = at_least
        #: Seconds within which nearly all receipts come; None while that is not known.
        self.usual: float | None = None
        self._smoothed = self._variation = 0.0
        self._last_receipt = self._since = 0.0
        self._newest_confirmed = float("-inf")
        self.resumed(0.0)

    def resumed(self, now: float) -> None:
        """The link is new, or the keeper goes on: all that is on the wire starts afresh."""
        self._since = now
        floor = random.uniform(*self._at_least)  # noqa: S311 - jitter needs no secrecy
        #: In seconds.
        self.timeout = min(max(floor, self.usual or 0.0), _LONGEST)

    def confirmed(self, now: float, sent_at: float, *, first_try: bool) -> None:
        """A receipt for a message sent at `sent_at` has come."""
        if first_try:
            sample = now - sent_at
            if self.usual is None:
                self._smoothed, self._variation = sample, sample / 2
            else:
                self._variation += (abs(self._smoothed - sample) - self._variation) / 4
                self._smoothed += (sample - self._smoothed) / 8
            self.usual = self._smoothed + 4 * self._variation
        if now - self._last_receipt > self.timeout / 2:
            self.resumed(now)  # the keeper was held up; what waited with it gets its time
        self._last_receipt = now
        self._newest_confirmed = max(self._newest_confirmed, sent_at)

    def asked(self, now: float) -> None:
        """A message was sent again for want of any receipt."""
        self._since = now
        self.timeout = min(2 * self.timeout, _LONGEST)

    def is_overdue(self, now: float, sent_at: float) -> bool:
        return now - max(sent_at, self._since) >= self.timeout

    def is_flowing(self, sent_at: float) -> bool:
        """Whether something sent later than `sent_at` has been confirmed, and not before the last silence."""
        return self._newest_confirmed > sent_at and self._last_receipt >= self._since

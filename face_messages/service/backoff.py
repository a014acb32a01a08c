"""How long to wait before the next try."""

import random


class Backoff:
    """Doubling delays with full jitter, so that many clients of one server do not come back in step.

    Method: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Args:
        first: upper bound of the first delay, in seconds.
        longest: upper bound of any delay, in seconds.
    """

    #: Tests set this to a small fraction to have retries without the waiting.
    scale = 1.0

    def __init__(self, first: float = 0.5, longest: float = 30.0) -> None:
        self._first = first
        self._longest = longest
        self._bound = first

    def next_delay(self) -> float:
        """Seconds to wait before the next try; at least a quarter of the bound, so that it is never a busy loop."""
        bound, self._bound = self._bound, min(self._bound * 2, self._longest)
        return self.scale * random.uniform(bound / 4, bound)  # noqa: S311 - jitter needs no secrecy

    def reset(self) -> None:
        self._bound = self._first

"""Where jobs wait for their next try without keeping a worker from the others."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

J = TypeVar("J")


class Parking(Generic[J]):
    """Hands each job back when its time has come.

    Args:
        leave: called, in a thread of this class, with a job whose delay is over.

    """

    def __init__(self, leave: Callable[[J], None]) -> None:
        self._leave = leave
        self._parked: list[tuple[float, int, J]] = []
        self._order = itertools.count()  # jobs themselves cannot be compared
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="parking", daemon=True).start()

    def __len__(self) -> int:
        return len(self._parked)

    def park(self, job: J, delay: float) -> None:
        """`delay` is in seconds."""
        with self._changed:
            heapq.heappush(self._parked, (time.monotonic() + delay, next(self._order), job))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._parked or self._parked[0][0] > time.monotonic():
                    self._changed.wait(self._parked[0][0] - time.monotonic() if self._parked else None)
                _, _, job = heapq.heappop(self._parked)
            self._leave(job)

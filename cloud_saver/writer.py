"""Writes many objects at a time in one thread.

A thread for each costs half as much again: they take turns at Python's lock, and each turn is a switch between threads.
"""

import select
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from face_messages.mqtt.wire import Waker
from object_store.bucket import Put
from object_store.errors import StoreError

J = TypeVar("J")

# How often deadlines are looked at, in seconds.
_LOOK_SECONDS = 1.0


class Writer(Generic[J]):
    """Asks `following` for a job and its write that has begun, while there is one, and tells `ended` what came of it.

    Both are called in its thread, and must not block. `ended` is given the job, when its write began (monotonic), and
    what went wrong or None.
    """

    def __init__(
        self, following: Callable[[], tuple[J, Put] | None], ended: Callable[[J, float, StoreError | None], None]
    ) -> None:
        self._following = following
        self._ended = ended
        self._waker = Waker()
        #: To be called, in any thread, when there may be something to write.
        self.wake = self._waker.wake
        self._poll = select.poll()
        self._poll.register(self._waker, select.POLLIN)
        self._writes: dict[int, tuple[J, Put, float]] = {}  # by file descriptor

    def start(self) -> None:
        # A daemon: a dead store must not hold up the end of the program.
        threading.Thread(target=self._run, name="writer", daemon=True).start()

    def _run(self) -> None:
        looked_at = time.monotonic()
        while True:
            while (begun := self._following()) is not None:
                job, put = begun
                self._proceed(put.connection.fileno(), job, put, time.monotonic(), is_waiting=False)
            ready = self._poll.poll(_LOOK_SECONDS * 1000 if self._writes else None)
            if (now := time.monotonic()) - looked_at >= _LOOK_SECONDS:
                looked_at = now
                ready += [(number, 0) for number, write in self._writes.items() if now > write[1].connection.deadline]
            for number, _ in ready:
                if number == self._waker.fileno():
                    self._waker.clear()
                elif (write := self._writes.pop(number, None)) is not None:
                    self._proceed(number, *write)

    def _proceed(self, number: int, job: J, put: Put, began: float, *, is_waiting: bool = True) -> None:
        trouble: StoreError | None = None
        try:
            if not put.proceed():
                self._poll.register(number, put.connection.events)  # or changes what it waits for
                self._writes[number] = (job, put, began)
                return
        except StoreError as error:
            trouble = error
        if is_waiting:
            self._poll.unregister(number)
        self._ended(job, began, trouble)

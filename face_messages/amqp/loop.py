"""pika's loop, whose sockets can be left unread for a while."""

from collections.abc import Callable

from pika.adapters.select_connection import IOLoop

# While sockets are left unread, a sip is taken now and then: the broker's heartbeats are behind what waits.
_SIP_SECONDS = 3.0


class Loop(IOLoop):  # type: ignore[misc] # pika has no types
    """Runs the connections of one session."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted: dict[int, int] = {}
        self._reading = True

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        self._wanted[fd] = events
        super().add_handler(fd, handler, self._masked(fd))

    def update_handler(self, fd: int, events: int) -> None:
        self._wanted[fd] = events
        super().update_handler(fd, self._masked(fd))

    def remove_handler(self, fd: int) -> None:
        del self._wanted[fd]
        super().remove_handler(fd)

    @property
    def reading(self) -> bool:
        return self._reading

    @reading.setter
    def reading(self, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            self._apply()
            if not wanted:
                self.call_later(_SIP_SECONDS, self._sip)

    def _sip(self) -> None:
        if self._reading:
            return
        self._reading = True
        self._apply()
        # The timer comes behind the next look at the sockets.
        self.call_later(0.01, self._leave_unread)

    def _leave_unread(self) -> None:
        self.reading = False

    def _apply(self) -> None:
        for fd in self._wanted:
            super().update_handler(fd, self._masked(fd))

    def _masked(self, fd: int) -> int:
        return self._wanted[fd] if self._reading else self._wanted[fd] & ~IOLoop.READ

"""Wakes a thread that waits in a selector."""

import contextlib
import socket
import threading


class Waker:
    """One thread registers it in its selector, others call `wake`; many wakes in a row cost one byte."""

    def __init__(self) -> None:
        self._woken = False
        self._lock = threading.Lock()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self.fileno = self._receiver.fileno

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            # Bytes enough may be on their way. The lock: a straggler must not write to what another has opened since.
            with self._lock, contextlib.suppress(BlockingIOError):
                if self._sender.fileno() >= 0:
                    self._sender.send(b"\0")

    def clear(self) -> None:
        """Called by the thread that was woken, before it looks for what there is to do."""
        with contextlib.suppress(BlockingIOError):
            self._receiver.recv(64)
        # Only now: a wake from here on sends a byte again, one from before is answered by the look that follows.
        self._woken = False

    def close(self) -> None:
        with self._lock:
            self._receiver.close()
            self._sender.close()

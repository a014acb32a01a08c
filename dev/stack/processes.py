"""Real processes with a log file and figures from /proc (Linux). None of them outlives this process."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, Self

_POLL_SECONDS = 0.02
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# Asks the kernel to kill the process when its parent dies, then becomes the program: same pid. Not `preexec_fn`: that
# runs Python after a fork, and may deadlock where there are threads.
_LEASH = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')

# The kernel's "parent" is the thread that forked. One thread, which lives as long as the interpreter, starts all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
_started: weakref.WeakSet[ManagedProcess] = weakref.WeakSet()


class Started(Protocol):
    """What is used of a `subprocess.Popen`."""

    pid: int
    returncode: int | Any

    def wait(self) -> int: ...


class ProcessError(RuntimeError):
    """A process died or did not get ready; the message holds the end of its log."""


def listens(port: int) -> bool:
    """Whether something accepts TCP connections on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class ManagedProcess:
    """A program that is started, watched, stopped, frozen, killed and started again, always with the same arguments.

    It has a process group of its own: Ctrl-C on the terminal reaches the parent only, which ends it in order. Its
    output is appended to `log`.
    """

    def __init__(
        self,
        name: str,
        args: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._args = list(args)
        self._env = None if env is None else dict(env)
        self._ready = ready
        self._popen: Started | None = None
        self._log_start = 0
        self._cpu_seconds = 0.0
        self._peak_rss_bytes = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self.poll() is None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises ProcessError when it dies, or is not ready in time."""
        if self.running:
            raise ProcessError(f"{self.name} is running already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._cpu_seconds = 0.0
        _spawner.submit(self._spawn).result()
        if self._ready is not None:
            self.wait_ready(self._ready)

    def _spawn(self) -> None:
        for program in (self._args[0], _LEASH[0]):  # the second is part of util-linux
            if shutil.which(program) is None:
                raise ProcessError(f"cannot start {program}: No such file or directory")
        self._popen = self._launch()
        _started.add(self)

    def _launch(self) -> Started:
        command = [*_LEASH, str(os.getpid()), *self._args]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0
            )

    def wait_ready(self, ready: Callable[[], bool] | int, *, timeout: float = 20) -> None:
        """Wait until `ready()` is true, or until that loopback port accepts a connection.

        Raises ProcessError when the process ends, or after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self.poll() is not None:
                raise ProcessError(self.describe_end())
            if listens(ready) if isinstance(ready, int) else ready():
                return
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} was not ready after {timeout:.0f} s\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)

    def poll(self) -> int | None:
        """The exit code (negative: ended by that signal), or None while it runs."""
        process = self._process
        if process.returncode is None:
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, process.pid, look) is not None:
                # The CPU time is exact now, and gone once somebody has waited for the process.
                self._cpu_seconds = self._read_cpu_seconds()
                process.wait()
        return process.returncode

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None when it still runs after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return code

    def terminate(self, timeout: float = 10) -> int | None:
        """SIGTERM, after `timeout` seconds SIGKILL; the exit code, None when it was never started."""
        if self._popen is None:
            return None
        if self.poll() is None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            self.wait(timeout)
        return self.kill()

    def kill(self) -> int | None:
        """SIGKILL to it and its children; the exit code, None when it was never started."""
        if self._popen is None:
            return None
        self._signal(signal.SIGKILL)
        return self.wait(10)

    def pause(self) -> None:
        """SIGSTOP: it stands still when this returns, its connections stay open."""
        self._signal(signal.SIGSTOP)
        # A thread on another processor goes on for a moment, and a server may answer in it.
        deadline = time.monotonic() + 10
        while self.running and not self.stands_still():
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} does not stand still")
            time.sleep(_POLL_SECONDS / 10)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """`terminate` where it runs, then `start`."""
        self.terminate()
        self.start()

    def reload(self) -> None:
        """SIGHUP, by which servers read their configuration again."""
        self._signal(signal.SIGHUP)

    def rss_bytes(self) -> int:
        """Resident memory, 0 when it does not run."""
        return self._read_status("VmRSS")

    def peak_rss_bytes(self) -> int:
        """The most resident memory it had in all its runs, as far as it was asked while it ran."""
        self._peak_rss_bytes = max(self._peak_rss_bytes, self._read_status("VmHWM"))
        return self._peak_rss_bytes

    def cpu_seconds(self) -> float:
        """User and system time since the start; exact also after its end."""
        if self.running:
            # It may end between the two lines; then the figure of its end stands.
            with contextlib.suppress(FileNotFoundError):
                self._cpu_seconds = self._read_cpu_seconds()
        return self._cpu_seconds

    def log_text(self) -> str:
        """Its output since it was last started."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log, indented."""
        tail = self.log_text().splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in tail) or "    (it printed nothing)"

    def describe_end(self) -> str:
        """How it ended, and the end of its log."""
        code = self.poll()
        how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit status {code}"
        return f"{self.name} ended {how}; the end of {self.log}:\n{self.log_tail()}"

    @property
    def _process(self) -> Started:
        if self._popen is None:
            raise ProcessError(f"{self.name} was not started")
        return self._popen

    def _signal(self, number: signal.Signals) -> None:
        # To the group, for its children. While nobody has waited for it, its number cannot be another's.
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def _read_cpu_seconds(self) -> float:
        fields = self._proc("stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def _read_status(self, field: str) -> int:
        if not self.running:
            return 0
        # It may end meanwhile, and a process that has ended has no memory.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in self._proc("status").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024
        return 0

    def stands_still(self) -> bool:
        """Whether all of it is paused."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            stats = [(task / "stat").read_text(errors="replace") for task in self._proc("task").iterdir()]
            return all(stat.rpartition(")")[2].split()[0] in "TtZX" for stat in stats)
        return False

    def _proc(self, name: str) -> Path:
        return Path("/proc", str(self.pid), name)


@atexit.register
def _end_all() -> None:
    for process in list(_started):
        process.kill()

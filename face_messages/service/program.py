"""What every program does around its work: settings, logs, signals and exit statuses."""

import _thread
import argparse
import gc
import logging
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

from face_messages.outbox.files import OutboxInUseError
from face_messages.outbox.outbox import Outbox
from face_messages.service import logs
from face_messages.service.backoff import Backoff
from face_messages.service.monitor import Monitor, show_outbox
from face_messages.service.settings import OutboxSettings, ProgramSettings, SettingsError

log = logging.getLogger(__name__)

S = TypeVar("S", bound=ProgramSettings)

EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2

# Bytes of each thread's stack; only what is used of it takes memory. It is what glibc gives. On musl it is 1 MiB or
# less, and Python's own limit of recursion comes too late there: deeply nested JSON would end the process.
_THREAD_STACK_BYTES = 8 * 1024 * 1024


# A signal that comes in the instant before the main thread falls asleep does not wake it.
_LONGEST_SLEEP_SECONDS = 1.0


class Stop(threading.Event):
    """Set when the program is to end, by a signal or because a part of it failed."""

    failed = False

    def wait(self, timeout: float | None = None) -> bool:
        """As an Event's; but signals are heard within a second, whenever they come."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while not super().wait(min(_LONGEST_SLEEP_SECONDS, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
        return True

    def fail(self) -> None:
        self.failed = True
        self.set()


def run(
    settings_type: type[S],
    work: Callable[[S, Stop], int],
    *,
    name: str,
    about: str,
    flags: Sequence[str] = (),
) -> int:
    """Runs `work` and returns the exit status: its own, 2 for bad settings, 1 when a thread died.

    `flags` are the settings, true or false, that may also be switched on in the command line.
    """
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}", description=about, epilog=_help(settings_type), formatter_class=as_written
    )
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true", help=f"the same as {flag.upper()}=true")
    for flag, is_given in vars(parser.parse_args()).items():
        if is_given:
            os.environ[flag.upper()] = "true"
    try:
        settings = settings_type.load()
    except SettingsError as error:
        for line in error.lines:
            print(f"{name}: {line}", file=sys.stderr)  # noqa: T201 - there are no log settings yet
        return EXIT_BAD_SETTINGS
    logs.configure(settings.log_level, settings.log_format)
    stop = Stop()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        # The first one counts; others must not interrupt this function.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        # From another thread, since this one may be in `stop.wait` and hold the lock that `set` needs. No log line
        # for the same reason.
        _thread.start_new_thread(stop.set, ())

    def on_thread_death(args: threading.ExceptHookArgs) -> None:
        # A program with a dead part looks alive and does nothing. Ending it is what gets it restarted.
        exc = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        log.critical("thread %s failed", args.thread and args.thread.name, exc_info=exc)
        stop.fail()

    threading.stack_size(_THREAD_STACK_BYTES)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    threading.excepthook = on_thread_death
    gc.freeze()  # the search for cycles passes over what is there by now: all of it stays
    try:
        status = work(settings, stop)
    except Exception:
        log.critical("%s failed", name, exc_info=True)
        return EXIT_FAILED
    return EXIT_FAILED if stop.failed else status


def end(status: int) -> NoReturn:
    """Ends the process now: threads that hang in a driver or a dead server must not hold it up."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def monitored(monitor: Monitor, settings: ProgramSettings) -> Iterator[None]:
    """Serves /metrics and /healthz meanwhile, where METRICS_PORT asks for it."""
    try:
        server = monitor.serve(settings.metrics_host, settings.metrics_port)
    except OSError as error:
        where = f"{settings.metrics_host}:{settings.metrics_port}"
        raise OSError(f"METRICS_PORT: {where} cannot be served on ({error}): choose another port, or 0") from error
    try:
        yield
    finally:
        if server is not None:
            server.close()


def open_outbox(settings: OutboxSettings, stop: Stop, monitor: Monitor) -> Outbox | None:
    """Opens the outbox, on a disk that fails or is not there too; None when stopped while another program has it."""
    backoff, trouble = Backoff(), ""
    monitor.check("outbox", lambda: not trouble)
    monitor.state("outbox", lambda: trouble or "well")
    while not stop.is_set():
        try:
            outbox = Outbox(
                settings.outbox_path,
                max_bytes=settings.outbox_max_bytes,
                when_full=settings.outbox_when_full,
            )
        except OutboxInUseError as error:
            if not trouble:
                trouble = f"OUTBOX_PATH cannot be used ({error}); retrying"
                # No traceback: the line says it all.
                log.log(logging.ERROR, "%s", trouble)
        else:
            show_outbox(monitor, outbox)
            return outbox
        stop.wait(backoff.next_delay())
    return None


def _help(settings_type: type[ProgramSettings]) -> str:
    lines = ["settings, as environment variables (or files in /run/secrets, named in lower case):", ""]
    for setting in settings_type.listed():
        secret = ", secret" if setting.secret else ""
        lines.append(f"  {setting.variable}  [{setting.default}{secret}]")
        lines += textwrap.wrap(setting.description, 76, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)

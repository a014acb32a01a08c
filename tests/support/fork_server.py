"""Programs without the start of an interpreter: forks of a process that has imported the libraries already.

The libraries are two thirds of what a start costs, and the suite starts some hundreds of programs. Only libraries are
imported before the fork: the project's own modules are imported after it, with the environment of the program.

`python fork_server.py PARENT` serves requests on its standard input, a socket. An answer is a process id.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_LIBRARIES = (
    "asyncio",
    "http.server",
    "numpy",
    "paho.mqtt.client",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "sqlite3",
    "urllib3",
)
# Of the programs beside the store, too: these two share a server.
_STORE_LIBRARIES = (
    "ibm_botocore.auth",
    "ibm_botocore.session",
    "starlette.applications",
    "starlette.responses",
    "uvicorn",
)
_WITH_STORE = ("cloud_saver", "cloud_gallery")
#: In the environment: what part of its time each back-off, and each wait for a word of health, takes in the program.
TEMPO = "TEST_TEMPO"
# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MAX_REQUEST = 200_000


class Child:
    """A process that was forked; as much of `subprocess.Popen` as `ManagedProcess` uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def fork(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Child:
    """Start `python -m …` with this environment. It is this process' child, and dies with it."""
    server = _server(with_store=arguments[0] in _WITH_STORE)
    request = json.dumps({"arguments": arguments, "env": dict(env), "folder": str(Path.cwd())})
    with log.open("ab") as output:
        # Its grandchild is to become our child. Not for longer: we would have to wait for all orphans.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        try:
            socket.send_fds(server, [request.encode()], [output.fileno()])
            answer = server.recv(100)
        finally:
            _prctl(_PR_SET_CHILD_SUBREAPER, 0)
    return Child(int(answer))


@cache
def _server(*, with_store: bool) -> socket.socket:
    """The server that has imported these libraries; made at the first call."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    libraries = (*_LIBRARIES, *(_STORE_LIBRARIES if with_store else ()))
    server = subprocess.Popen([sys.executable, __file__, str(os.getpid()), *libraries], stdin=its.fileno())
    its.close()

    @atexit.register
    def _end() -> None:
        ours.close()
        server.wait()

    return ours


def _prctl(option: int, argument: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}, {argument})")


def _serve(parent: int) -> None:
    """Returns in a child, as the program that was asked for."""
    requests = socket.socket(fileno=0)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _MAX_REQUEST, 1)
        if not message:
            os._exit(0)
        read, write = os.pipe()
        if os.fork() == 0:
            if pid := os.fork():
                os.write(write, str(pid).encode())
                os._exit(0)
            os.close(read)
            os.close(write)
            requests.detach()
            return _become(json.loads(message), descriptors[0], parent)
        os.wait()
        requests.send(os.read(read, 100))
        for descriptor in (read, write, *descriptors):
            os.close(descriptor)


def _become(request: dict[str, object], output: int, parent: int) -> None:
    arguments, env = request["arguments"], request["env"]
    assert isinstance(arguments, list)
    assert isinstance(env, dict)
    os.setpgid(0, 0)
    while os.getppid() != parent:
        time.sleep(0.0005)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), errors="backslashreplace", line_buffering=True
    )
    os.environ.clear()
    os.environ.update(env)
    os.chdir(str(request["folder"]))
    sys.path[0] = str(request["folder"])
    sys.argv[:] = [arguments[0], *arguments[1:]]
    _hasten(float(os.environ.pop(TEMPO, "1")))
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _hasten(tempo: float) -> None:
    """Before the program imports these constants."""
    from face_messages.service import health
    from face_messages.service.backoff import Backoff

    Backoff.scale = tempo
    for name in ("EVERY_SECONDS", "SILENT_SECONDS", "_LOOK_SECONDS"):
        setattr(health, name, tempo * getattr(health, name))


if __name__ == "__main__":
    for library in sys.argv[2:]:
        with contextlib.suppress(ImportError):
            __import__(library)
    gc.collect()
    gc.freeze()
    _serve(int(sys.argv[1]))

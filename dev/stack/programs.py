"""The programs as processes: run by this Python, or in their images as Docker runs them."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from dev.stack.processes import ManagedProcess, ProcessError

ROOT = Path(__file__).parents[2]
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "PYTHONPATH")
_COMPOSE_FILES = ("docker-compose.edge.yml", "docker-compose.cloud.yml")
_numbers = itertools.count(1)
_use_images = False


@contextlib.contextmanager
def in_images(wanted: bool = True) -> Iterator[None]:
    """Meanwhile `make_program` makes containers of the images, which have to be built."""
    global _use_images  # noqa: PLW0603 - many places start programs, and none of them cares how
    before, _use_images = _use_images, wanted
    try:
        yield
    finally:
        _use_images = before


def python_path() -> str:
    """This checkout, before what the caller's PYTHONPATH names."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


class PythonProcess(ManagedProcess):
    """`python -m <module> …` of this checkout, with these environment variables and no others of this project."""

    def __init__(
        self,
        name: str,
        module: Sequence[str],
        settings: Mapping[str, str],
        *,
        log: Path,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        env = kept | {"PYTHONPATH": python_path(), **settings}
        super().__init__(name, [sys.executable, "-m", *module], log=log, env=env, ready=ready)


def make_program(
    name: str,
    settings: Mapping[str, str],
    folder: Path,
    *,
    called: str = "",
    module: Sequence[str] = (),
    reads: Sequence[Path] = (),
) -> ManagedProcess:
    """A program with these environment variables, as `in_images` says. Its log is in `folder`, where it may write.

    `called` is the name of the process, by default the program's. `module` is another module of this checkout in its
    place, with arguments, and `reads` are further files that it reads.
    """
    log = folder / f"{called or name}.log"
    if not _use_images:
        return PythonProcess(called or name, module or [name], settings, log=log)
    own = [ROOT / module[0].partition(".")[0]] if module else []
    mounts = [(path, Path("/app", path.name)) for path in own] + [(path, path) for path in reads]
    return ContainerProcess(called or name, name, module or [name], log=log, settings=settings, mounts=mounts)


def read_metrics(port: int) -> dict[str, float]:
    """A program's figures by name, summed over labels; none while it cannot be asked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    figures: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            figures[sample.name] += sample.value  # type: ignore[assignment] # a Counter of floats adds up too
    return dict(figures)


class ContainerProcess(ManagedProcess):
    """A program in its image, with the limits and the rights of the compose files; its figures are Python's.

    It uses the host's network, to reach servers on loopback, and runs as our user, so that its files are ours. Needs
    Linux, where the host sees the processes of containers.
    """

    def __init__(
        self,
        name: str,
        image: str,
        module: Sequence[str],
        *,
        log: Path,
        settings: Mapping[str, str],
        mounts: Sequence[tuple[Path, Path]],
    ) -> None:
        folder = log.parent.resolve()
        # As natively: figures only on request, and logs as text.
        environment = {"METRICS_PORT": "0", "LOG_FORMAT": "text", **settings}
        self._options = [
            *("--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"),
            *_as_in_compose(image),
            *("--volume", f"{folder}:{folder}"),
            *(part for path, inside in mounts for part in ("--volume", f"{path.resolve()}:{inside}:ro")),
            *(part for variable in environment.items() for part in ("--env", "=".join(variable))),
            *("--entrypoint", "/sbin/tini", image, "--", "python3", "-m", *module),
        ]
        self._container = ""
        self._python: int | None = None
        self._paused = False
        super().__init__(name, [], log=log)

    def start(self) -> None:
        # A new name for each start: the name of a killed container is free only a little later.
        self._container = f"facedetection-{os.getpid()}-{next(_numbers)}"
        self._python, self._paused = None, False
        begin = ("docker", "run", "--rm", "--log-driver", "none", "--name", self._container)
        self._args = [*begin, *self._options]
        super().start()
        # On a busy machine Docker takes its time.
        self.wait_ready(self._find_python, timeout=60)

    def poll(self) -> int | None:
        self._cpu_seconds = self._read_cpu_seconds()  # it is gone with the container
        return super().poll()

    def kill(self) -> int | None:
        code = super().kill()
        if code is None and self._popen is not None:
            # The container was not there yet.
            super()._signal(signal.SIGKILL)
            code = self.wait(10)
        return code

    def _find_python(self) -> bool:
        """Whether tini has started it."""
        told = self._docker("inspect", "--format", "{{.State.Pid}}", self._container)
        tini = int(told) if told.strip().isdecimal() else 0
        if tini:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children = Path(f"/proc/{tini}/task/{tini}/children").read_text().split()
                self._python = int(children[0]) if children else None
        return self._python is not None

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is not None:
            return
        if number == signal.SIGSTOP:
            self._docker("pause", self._container)
            self._paused = True
            return
        # Docker refuses to signal a paused container.
        if self._paused:
            self._docker("unpause", self._container)
            self._paused = False
        if number != signal.SIGCONT:
            self._docker("kill", "--signal", number.name, self._container)

    def stands_still(self) -> bool:
        return self._paused  # Docker has waited for it

    def _docker(self, *command: str) -> str:
        return subprocess.run(["docker", *command], capture_output=True, text=True, check=False).stdout

    def _read_cpu_seconds(self) -> float:
        if self._python is None:
            return 0.0
        try:
            return super()._read_cpu_seconds()
        except (FileNotFoundError, ProcessLookupError):
            return self._cpu_seconds

    def _proc(self, name: str) -> Path:
        return Path("/proc", str(self._python or "none"), name)


@cache
def _compose_services() -> dict[str, Any]:
    files = [part for file in _COMPOSE_FILES for part in ("-f", str(ROOT / file))]
    options = ["--env-file", os.devnull, *files, "--profile", "gallery"]
    command = ["docker", "compose", *options, "config", "--format", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ProcessError(f"docker compose cannot read the compose files: {answer.stderr.strip()}")
    services: dict[str, Any] = json.loads(answer.stdout)["services"]
    return services


def _as_in_compose(name: str) -> list[str]:
    """The limits and rights of a service, as options of `docker run`."""
    service = _compose_services()[name]
    options = [f"--memory={service['mem_limit']}", f"--pids-limit={service['pids_limit']}"]
    options += [f"--cpus={service['cpus']}"] if service.get("cpus") else []
    options += ["--read-only"] if service.get("read_only") else []
    options += [f"--cap-drop={capability}" for capability in service.get("cap_drop", ())]
    options += [f"--security-opt={option}" for option in service.get("security_opt", ())]
    return options + [f"--tmpfs={mount}" for mount in service.get("tmpfs", ())]

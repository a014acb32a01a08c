"""The images and the stack, once for all tests of this folder."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.containers.engine import IMAGES, PROGRAMS, SERVICES, compose, docker, health, on_musl, remove_leftovers, run
from tests.support.waiting import eventually

_FIGURES = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/containers/" in item.path.as_posix():
            # The first one builds all images, where there is nothing to build upon yet.
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> list[str]:
    """Lines to be shown when the tests are over."""
    return request.config.stash.setdefault(_FIGURES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_FIGURES, []):
        terminalreporter.section("figures of the containers")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def images(figures: list[str]) -> None:
    """All images, built anew where something has changed."""
    answer = run("docker", "version", ok=range(256))
    if answer.returncode:
        # Not skipped: who calls these tests wants to know about the containers.
        pytest.fail(f"these tests need a Docker engine: {answer.stderr.decode().strip()}", pytrace=False)
    begin = time.monotonic()
    # What answers to Alpine's name elsewhere has no such package.
    compose("build", *(() if on_musl() else ("--build-arg", "ALLOCATOR=")), within=1700)
    figures.append(f"images built in {time.monotonic() - begin:.0f} s")
    base = int(docker("image", "inspect", "--format", "{{.Size}}", "alpine:3.23"))
    for image in IMAGES:
        size = int(docker("image", "inspect", "--format", "{{.Size}}", image))
        figures.append(
            f"image {image:<20} {size / 1e6:6.0f} MB, of which on top of its base {(size - base) / 1e6:5.0f}"
        )


@pytest.fixture(scope="session")
def stack(images: None, figures: list[str]) -> Iterator[None]:  # noqa: ARG001 - usefixtures does not work on fixtures
    """Both stacks and the demo's parts, all of them healthy."""
    remove_leftovers()
    try:
        begin = time.monotonic()
        compose("up", "--detach")
        eventually(lambda: all(health(name) == "healthy" for name in SERVICES), within=90, what="not all are healthy")
        figures.append(f"stack healthy after {time.monotonic() - begin:.0f} s")
        yield
    finally:
        for program in PROGRAMS:
            # Shown by pytest if a test failed.
            print(run("docker", "logs", "--tail", "30", program, ok=range(256)).stderr.decode())
        remove_leftovers()

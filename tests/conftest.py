"""Fixtures that start real servers."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server

# To collect the tests makes a million objects that stay. To look for garbage among them takes long.
gc.disable()


# A shell has what it runs in the background ignore Ctrl+C. Programs that tests start would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Garbage is collected while the tests run, without another look at what was there before."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Makes `--dist loadgroup` keep the tests of a group together with pytest 9.2, too.

    pytest-xdist 3.8 writes a test's group behind its id, into a place where pytest looked for the id before 9.2.
    """
    for item in items:
        with_group = vars(item).get("_nodeid")
        if with_group is not None and item.nodeid != with_group:
            item._id = type(item._id).parse(with_group)
        is_apart = item.get_closest_marker("xdist_group") is not None and "@" not in item.nodeid
        if getattr(config.option, "loadgroup", False) and is_apart:
            raise pytest.UsageError(f"{item.nodeid} would run apart from its group: another pytest-xdist or pytest?")


StartBroker = Callable[..., Mosquitto]


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Starts Mosquittos, which end with the test; arguments as for `Mosquitto`."""
    with ExitStack() as stack:
        count = 0

        def start(**options: Any) -> Mosquitto:
            nonlocal count
            count += 1
            return stack.enter_context(Mosquitto(tmp_path / f"broker{count}", **options))

        yield start


@pytest.fixture
def broker(start_broker: StartBroker) -> Mosquitto:
    return start_broker()


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    """A running S3 server with a bucket `faces`."""
    server = S3Server(tmp_path / "s3")
    with server:
        yield server

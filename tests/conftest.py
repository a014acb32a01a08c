"""Fixtures that start real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server

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
    server.create_bucket("faces")
    with server:
        yield server

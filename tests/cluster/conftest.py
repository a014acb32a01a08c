"""One real cluster of three nodes for all tests of this folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.stack import cluster as nodes
from dev.stack.cluster import Cluster
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from tests.support.site import Site

_edges = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/" in item.path.as_posix():
            # The first one starts the cluster.
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = nodes.Cluster(tmp_path_factory.mktemp("bundles"))
    try:
        running.up()
        yield running
    finally:
        for number in range(len(nodes.ADDRESSES)):
            # Shown by pytest if a test failed.
            print(running.log(number))
        running.down()


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    """An edge of its own for each test, so that no session of an earlier one is there, and an empty queue."""
    cluster.empty_queue()
    with ExitStack() as stack:
        s3 = stack.enter_context(S3Server(tmp_path / "s3"))
        edge_broker = stack.enter_context(Mosquitto(tmp_path / "edge"))
        edge_id = f"edge{next(_edges)}"
        yield Site(cluster, cluster.enrol(edge_id), edge_id, s3, edge_broker, tmp_path, stack)

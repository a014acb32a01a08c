"""The benchmark of the cluster runs, and what it prints can be so: many edges at once, and faults under load."""

from __future__ import annotations

from pathlib import Path

from dev.bench.cluster import QUICK, run
from dev.stack.cluster import Cluster


def test_many_edges_go_on_when_nodes_and_savers_die(cluster: Cluster, tmp_path: Path) -> None:
    """It fails by itself where a face is lost or stored twice."""
    cluster.empty_queue()
    load, faults = run(QUICK, tmp_path, cluster)
    print(load, faults, sep="\n")
    assert all(float(row[1]) >= 0 for row in load.rows)
    # In seconds, with room for a machine that has much else to do; usual figures are in docs/cluster.md.
    slowest = {row[0]: float(row[1]) for row in faults.rows}
    assert slowest["a node is killed: its edges are connected again"] < 5
    assert slowest["a node is killed: slowest face"] < 5
    assert slowest["a node is frozen: slowest face"] < 40
    assert slowest["a saver is killed: the others have its share"] < 3

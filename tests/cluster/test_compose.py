"""Savers in their image, as many as wanted, beside the three nodes of compose/cluster.yml."""

from __future__ import annotations

from dev.stack.cluster import Cluster
from tests.support.waiting import eventually


def test_savers_are_scaled_while_the_cluster_runs(cluster: Cluster) -> None:
    """Each of them finds a node by itself; none has a name that another one wants."""
    try:
        scale(cluster, 2)
        scale(cluster, 3)
    finally:
        cluster.compose("rm", "--stop", "--force", "cloud_saver")


def scale(cluster: Cluster, number: int) -> None:
    """Starts or ends savers, and waits until they are connected."""
    cluster.compose("up", "--detach", "--build", "--no-deps", "--scale", f"cloud_saver={number}", "cloud_saver")

    def connected() -> int:
        lines = cluster.compose("logs", "--no-log-prefix", "cloud_saver").decode().splitlines()
        return len([line for line in lines if "connected to the broker amqp://cloud_rabbitmq" in line])

    eventually(lambda: connected() == number, within=120, what=lambda: f"{connected()} savers are connected")


def test_no_saver_and_no_node_may_do_more_than_it_must(cluster: Cluster) -> None:
    """Read-only, without privileges that could grow; what a node needs to start, RabbitMQ itself has not."""
    told = cluster.inspect("cloud_rabbitmq1")
    host = told["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] == 2 * 1024**3
    status = cluster.run("docker", "exec", "cloud_rabbitmq1", "sh", "-c", "cat /proc/$(pgrep beam.smp)/status").decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == 0
    assert fields["Uid"].split()[0] != "0"

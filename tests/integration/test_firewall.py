"""The firewall of the machine in the cloud, in a kernel's real packet filter, with machines around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.namespaces import Machine, machines
from tests.support.waiting import eventually

RULES = Path(__file__).parents[2] / "deploy" / "firewall.nft"
# As Docker publishes ports: redirected before it is decided whether a packet is for this machine.
PUBLISHED = """
table ip docker {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        iifname "eth0" tcp dport { 1883, 8883 } dnat to 172.20.0.2
    }
}
"""


class Network(NamedTuple):
    vm: Machine
    outside: Machine
    container: Machine


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """The machine with its firewall, one in the internet, which has several addresses, and a container."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if sys.platform != "linux":
        pytest.skip("nftables are Linux's")
    assert shutil.which("nft"), "nft is missing: dev/scripts/need.sh nftables"
    if subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], check=False).returncode:
        pytest.skip("this kernel gives no namespaces: sysctl kernel.unprivileged_userns_clone=1, or run it as root")
    with machines(3) as (vm, outside, container):
        vm.link("eth0", outside, "eth0")
        vm.up("eth0", "10.0.0.1/24", "fd00::1/64")
        outside.up("eth0", "10.0.0.2/24", "10.0.0.3/24", "fd00::2/64", "fd00:0:0:1::2/64")
        vm.run("ip", "-6", "route", "add", "fd00:0:0:1::/64", "dev", "eth0")
        vm.run("ip", "link", "add", "br-hw03", "type", "bridge")
        vm.up("br-hw03", "172.20.0.1/24")
        vm.link("veth0", container, "eth0")
        vm.run("ip", "link", "set", "veth0", "master", "br-hw03")
        vm.up("veth0")
        container.up("eth0", "172.20.0.2/24")
        container.run("ip", "route", "add", "default", "via", "172.20.0.1")
        outside.run("ip", "route", "add", "172.20.0.0/24", "via", "10.0.0.1")
        vm.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        vm.run("nft", "--file", str(RULES))
        yield Network(vm, outside, container)


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_nothing_is_open_but_ssh_and_mqtt_with_tls(network: Network, address: str) -> None:
    """By IPv4 and IPv6, for what listens on the machine itself; and inside nothing is held up."""
    with network.vm.listening(22, 1883, 8080, 8883):
        open_ports = [port for port in (22, 1883, 8080, 8883) if network.outside.reaches(address, port)]
        assert open_ports == [22, 8883]
        assert network.vm.reaches(address, 1883)


def test_it_holds_for_ports_that_docker_publishes(network: Network, tmp_path: Path) -> None:
    """Those pass by firewalls that filter what is for the machine, such as ufw."""
    (tmp_path / "published.nft").write_text(PUBLISHED)
    network.vm.run("nft", "--file", str(tmp_path / "published.nft"))
    with network.container.listening(1883, 8883):
        assert network.outside.reaches("10.0.0.1", 8883)
        assert not network.outside.reaches("10.0.0.1", 1883)
        assert not network.outside.reaches("172.20.0.2", 1883)
        network.vm.run("nft", "delete", "table", "inet", "facedetection")
        assert network.outside.reaches("10.0.0.1", 1883)


def test_containers_get_out_and_their_answers_in(network: Network) -> None:
    """The saver has to reach the store."""
    with network.outside.listening(443):
        assert network.container.reaches("10.0.0.2", 443)
        assert network.vm.reaches("10.0.0.2", 443)


@pytest.mark.parametrize(
    ("vm", "first", "second"), [("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("fd00::1", "fd00::2", "fd00:0:0:1::2")]
)
def test_one_address_cannot_take_all_connections(network: Network, vm: str, first: str, second: str) -> None:
    """It has 32 of the broker's, which other addresses do not notice, and new ones when it gives some up."""
    with network.vm.listening(8883):
        with network.outside.connections(vm, 8883, 40, source=first) as made:
            assert made == 32
            assert not network.outside.reaches(vm, 8883, source=first)
            assert network.outside.reaches(vm, 8883, source=second)
        eventually(lambda: network.outside.reaches(vm, 8883, source=first), within=10, what="no place is free again")


@pytest.mark.parametrize(("port", "rate"), [(22, 10), (8883, 60)])
def test_one_address_cannot_begin_connections_without_end(network: Network, port: int, rate: int) -> None:
    """Neither to guess at ssh, nor to keep the broker busy with handshakes; other addresses do not notice."""
    with network.vm.listening(port):
        made, begin = 0, time.monotonic()
        for _ in range(4):
            with network.outside.connections("10.0.0.1", port, 30, source="10.0.0.2") as now:
                made += now
        # More come to the account as time goes by.
        assert rate <= made <= rate + 1 + (time.monotonic() - begin) * rate / 60
        assert network.outside.reaches("10.0.0.1", port, source="10.0.0.3")


def test_loading_it_anew_cuts_no_connection(network: Network) -> None:
    """As vm.sh does when it is run again."""
    serve = (
        "import socket; listening = socket.create_server(('', 8883)); print(flush=True);"
        " taken = listening.accept()[0]; taken.sendall(taken.recv(9))"
    )
    ask = (
        "import socket, sys; made = socket.create_connection(('10.0.0.1', 8883), 5); print(flush=True);"
        " sys.stdin.read(); made.sendall(b'hello'); print(made.recv(9))"
    )
    with subprocess.Popen(network.vm.command(sys.executable, "-c", serve), stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        command = network.outside.command(sys.executable, "-c", ask)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            client.stdout.readline()
            network.vm.run("nft", "--file", str(RULES))
            assert client.communicate(timeout=10)[0] == b"b'hello'\n"

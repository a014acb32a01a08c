"""Network namespaces: machines with a network of their own, as far as the kernel is concerned. No rights are needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

# Listens at the ports that are its arguments, by IPv4 and IPv6; closes a connection when the other side does.
_SERVER = """
import select, socket, sys
family = {"family": socket.AF_INET6, "dualstack_ipv6": True}
listening = [socket.create_server(("", int(port)), backlog=512, **family) for port in sys.argv[1:]]
print("ready", flush=True)
taken = []
while True:
    for each in select.select(listening + taken, [], [])[0]:
        if each in listening:
            taken.append(each.accept()[0])
        elif not each.recv(100):
            taken.remove(each)
            each.close()
"""

# ADDRESS PORT COUNT FROM: says how many of that many connections were made; holds them until its input ends.
_CLIENT = """
import errno, select, socket, sys, time
address, port, count, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
made = []
for _ in range(count):
    each = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    each.bind((source, 0))
    each.setblocking(False)
    assert each.connect_ex((address, port)) == errno.EINPROGRESS
    made.append(each)
# Less than the second after which what was dropped is sent again.
deadline, done = time.monotonic() + 0.8, set()
while len(done) < count and (left := deadline - time.monotonic()) > 0:
    for each in select.select([], [each for each in made if each not in done], [], left)[1]:
        done.add(each)
print(sum(each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for each in done), flush=True)
for each in set(made) - done:
    each.close()
sys.stdin.read()
"""


class Machine:
    """A network namespace, kept by a process that sleeps."""

    def __init__(self, keeper: subprocess.Popen[bytes]) -> None:
        self._keeper = keeper

    def command(self, *words: str) -> list[str]:
        target = ("nsenter", "--target", str(self._keeper.pid), "--user", "--preserve-credentials", "--net")
        return [*target, *words]

    def run(self, *words: str) -> None:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"

    def link(self, name: str, other: Machine, other_name: str) -> None:
        """A cable between the two."""
        peer = ("peer", "name", other_name, "netns", str(other._keeper.pid))
        self.run("ip", "link", "add", name, "type", "veth", *peer)

    def up(self, name: str, *addresses: str) -> None:
        for address in addresses:
            self.run("ip", "address", "add", address, "dev", name, *(("nodad",) if ":" in address else ()))
        self.run("ip", "link", "set", name, "up")

    @contextmanager
    def listening(self, *ports: int) -> Iterator[None]:
        command = self.command(sys.executable, "-c", _SERVER, *map(str, ports))
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            try:
                assert server.stdout.readline() == b"ready\n"
                yield
            finally:
                server.kill()

    @contextmanager
    def connections(self, address: str, port: int, count: int = 1, *, source: str = "") -> Iterator[int]:
        """How many of so many connections that are begun at once are made; they are held meanwhile."""
        command = self.command(sys.executable, "-c", _CLIENT, address, str(port), str(count), source)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            yield int(client.stdout.readline())
            client.stdin.close()

    def reaches(self, address: str, port: int, *, source: str = "") -> bool:
        with self.connections(address, port, source=source) as made:
            return made == 1


@contextmanager
def machines(count: int) -> Iterator[Sequence[Machine]]:
    """So many machines, of which the first may give the others its cables."""
    with ExitStack() as stack:
        made: list[Machine] = []
        for _ in range(count):
            # The user namespace is the first one's, so that cables can lead from one to another.
            enter = made[0].command("unshare", "--net") if made else ["unshare", "--user", "--map-root-user", "--net"]
            # Once it speaks, it is where it belongs.
            script = "echo; exec sleep infinity"
            keeper = stack.enter_context(subprocess.Popen([*enter, "sh", "-c", script], stdout=subprocess.PIPE))
            stack.callback(keeper.kill)
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == b"\n"
            made.append(Machine(keeper))
            made[-1].up("lo")
        yield made

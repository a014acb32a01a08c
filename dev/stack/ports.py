"""Free TCP ports on loopback. Each is handed out once on this machine while the process that asked for it lives."""

import errno
import random
import socket
import threading
from collections.abc import Iterator

# Below the ephemeral range: a client that keeps dialling a closed port of that range ends up connected to itself, and
# the server that comes back finds its port taken.
_FIRST, _LAST = 10_240, 31_999
# A process claims this many ports at a time. A claim costs it a file descriptor.
_BLOCK = 64


def _claim(first: int) -> bool:
    """Claim the block of ports that begins here, against all processes that use this module.

    The claim is a bound socket. The kernel releases it when this process ends, however it ends.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        # An abstract name: no file, and of this network namespace, as the ports are. Linux only.
        claim.bind(f"\0edge-face-detection-ports-{first}")
    except OSError as error:
        claim.close()
        return error.errno != errno.EADDRINUSE
    claim.detach()  # nothing closes the descriptor before the process ends
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _ports() -> Iterator[int]:
    blocks = list(range(_FIRST, _LAST - _BLOCK + 2, _BLOCK))
    random.shuffle(blocks)
    for first in blocks:
        if _claim(first):
            yield from filter(_is_free, range(first, first + _BLOCK))
    raise RuntimeError(f"no free TCP port on 127.0.0.1 between {_FIRST} and {_LAST}")


_free_ports = _ports()
_lock = threading.Lock()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on. Raises RuntimeError when all are taken."""
    with _lock:
        return next(_free_ports)

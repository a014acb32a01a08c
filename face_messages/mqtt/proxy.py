"""The way out through an HTTP proxy, by CONNECT (RFC 9110, section 9.3.6), as `HTTPS_PROXY` and `NO_PROXY` say.

Both names are read in lower case first, as curl does, and `ALL_PROXY` where there is no `HTTPS_PROXY`. This machine and
names without a dot, such as those of a compose network, are never reached through a proxy.
"""

import base64
import ipaddress
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from face_messages.message import printable

#: A value that may hold a password can be a file in here.
_SECRETS = Path("/run/secrets")
# Names that only Docker, or this machine, knows.
_LOCAL = (".localhost", ".docker.internal", ".hw03")
_MAX_ANSWER = 16 * 1024
_ENCODE = "write what is special in user name and password percent-encoded, # as %23"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ProxyError(OSError):
    """The proxy is not there, refuses, or is none; the text says which, and never shows its password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. Printing one never shows the password."""

    host: str
    port: int
    #: The environment variable that names it.
    variable: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, variable: str) -> Self:
        """From `http://user:password@host:port`, where all but the host may be left out.

        ProxyError: what is wrong, without repeating the text.
        """
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ProxyError(f"{variable} is no URL; {_ENCODE}") from None
        if parts.scheme != "http":
            raise ProxyError(
                f"{variable} must begin with http://; if none is needed for this host, name it in NO_PROXY"
            )
        if not host:
            raise ProxyError(f"{variable} names no host; give http://proxy.example.org:3128")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ProxyError(f"{variable} has something after the port; {_ENCODE}")
        decoded = [None if each is None else unquote(each) for each in (parts.username, parts.password)]
        return cls(host, port or 80, variable, *decoded)

    def __str__(self) -> str:
        return f"http://{_authority(self.host, self.port)} ({self.variable})"

    def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A socket on which the other side is `host`. `timeout` is in seconds, for all of it.

        ProxyError: there is no way through; the text says why.
        """
        deadline = time.monotonic() + timeout
        try:
            sock = socket.create_connection((self.host, self.port), timeout=timeout)
        except OSError as error:
            raise ProxyError(f"the proxy {self} cannot be reached: {error}") from error
        try:
            sock.sendall(self._request(host, port))
            status, reason = _read_answer(sock, deadline)
        except (OSError, ValueError) as error:
            sock.close()
            raise ProxyError(f"the proxy {self} does not answer as an HTTP proxy does: {error}") from error
        if status // 100 != 2:
            sock.close()
            raise ProxyError(f"the proxy {self} {self._why(status, reason, _authority(host, port))}")
        return sock

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the proxy says of its user."""
        if self.username is None:
            return {}
        pair = base64.b64encode(f"{self.username}:{self.password or ''}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {pair}"}

    def _request(self, host: str, port: int) -> bytes:
        target = _authority(host.encode("idna").decode(), port)
        headers = [f"{name}: {value}" for name, value in {"Host": target, **self.headers}.items()]
        return "\r\n".join([f"CONNECT {target} HTTP/1.1", *headers, "", ""]).encode()

    def _why(self, status: int, reason: str, target: str) -> str:
        said = f"({status} {reason})"
        if status == 407 and self.username is None:
            return f"wants a user name and a password {said}: put them into {self.variable}"
        if status == 407:
            return f"does not accept user name and password {said}: correct them in {self.variable}"
        if status in (403, 405):
            return f"does not let this machine connect to {target} {said}: have it allowed there"
        if status in (502, 503, 504):
            return f"cannot reach {target} {said}: see whether that is the right name, and up"
        return f"refuses to connect to {target} {said}"


def proxy_for(host: str, port: int, environment: Mapping[str, str] = os.environ, *, tls: bool = True) -> Proxy | None:
    """The proxy through which a connection goes, or None: straight. `HTTP_PROXY` is for what has no TLS.

    ProxyError: the proxy's URL is wrong.
    """
    for variable in ("HTTPS_PROXY" if tls else "HTTP_PROXY", "ALL_PROXY"):
        if text := _value(variable, environment):
            direct = goes_direct(host, port, _value("NO_PROXY", environment))
            return None if direct else Proxy.parse(text, variable)
    return None


def goes_direct(host: str, port: int, no_proxy: str) -> bool:
    """Whether no proxy may stand between: by nature, or by NO_PROXY.

    Its entries, between commas or blanks: a name, which stands for all below it too (`example.org`, `.example.org`,
    `*.example.org`), an address (`192.0.2.7`, `[2001:db8::1]`), a network (`10.0.0.0/8`), each of them with a port or
    without, or `*`.
    """
    name = _normal(host)
    address = _address(name)
    if address is None:
        if "." not in name or name.endswith(_LOCAL):
            return True
    elif address.is_loopback or address.is_link_local or address.is_unspecified:
        return True
    return any(_matches(entry, name, address, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _matches(entry: str, name: str, address: _Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if with_port := re.fullmatch(r"(\[.*\]|[^:]*):(\d{1,5})", entry):
        entry = with_port[1]
        if int(with_port[2]) != port:
            return False
    entry = entry.strip("[]")
    if address is not None and "*" not in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    entry = _normal(entry).removeprefix("*").lstrip(".")
    return bool(entry) and (name == entry or name.endswith(f".{entry}") or fnmatchcase(name, entry))


def _normal(name: str) -> str:
    name = name.rstrip(".").lower()
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return name


def _address(name: str) -> _Address | None:
    """As the resolver reads it, which knows 127.1 too."""
    try:
        address: _Address = ipaddress.ip_address(name)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _value(variable: str, environment: Mapping[str, str]) -> str:
    """Of a variable, or else of a secret file named like it; empty where there is neither."""
    for name in (variable.lower(), variable):
        if text := environment.get(name, "").strip():
            return text
    try:
        return (_SECRETS / variable.lower()).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeError) as error:
        raise ProxyError(f"{_SECRETS}/{variable.lower()} cannot be read: {error}") from error


def _read_answer(sock: socket.socket, deadline: float) -> tuple[int, str]:
    """Status and reason. Byte by byte, as what follows the answer is no longer the proxy's.

    OSError: the proxy broke off, or took too long. ValueError: it does not speak HTTP.
    """
    head = b""
    while not head.endswith((b"\r\n\r\n", b"\n\n")):
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError("it took too long")
        sock.settimeout(left)
        if not (byte := sock.recv(1)):
            raise ConnectionResetError("it closed the connection")
        head += byte
        if len(head) > _MAX_ANSWER or not b"HTTP/1.".startswith(head[:7]):
            raise ValueError(f"{printable(head[:40].decode(errors='replace'))!r} is no HTTP")
    match = re.match(rb"HTTP/1\.\d (\d{3})(?: ([^\r\n]*))?", head)
    if match is None:
        raise ValueError("its answer has no status")
    return int(match[1]), printable((match[2] or b"").decode(errors="replace"))[:60]

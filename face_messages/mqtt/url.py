"""Where a broker is and how to get in: `mqtt://host:1883`, `mqtts://user:password@host:8883`."""

import re
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

from face_messages.mqtt.proxy import Proxy, proxy_for

_KERNEL_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for `mqtts`: the CA to trust instead of the system's, and a client certificate with its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """The files are read anew each time, as they get renewed. OSError: one cannot be read, or is none."""
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """A parsed MQTT URL. Printing one never shows the password."""

    #: Schemes and their ports: the plain one, and that with TLS.
    PORTS: ClassVar[dict[str, int]] = {"mqtt": 1883, "mqtts": 8883}

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """ValueError: what is wrong with the URL, without repeating it, since it may hold a password."""
        try:
            parts = urlsplit(text)
        except ValueError:  # whose text repeats parts of the URL
            raise ValueError("is no URL; percent-encode what is special in the user name and the password") from None
        if parts.scheme not in cls.PORTS:
            raise ValueError(f"must begin with {cls._schemes()}")
        if not parts.hostname:
            raise ValueError("names no host")
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            raise ValueError("names a host that cannot be one") from None
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("has something after the port; a broker's URL ends there")
        try:
            port = cls.PORTS[parts.scheme] if parts.port is None else parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("has a port that is no number from 1 to 65535")
        return cls(
            host=parts.hostname,
            port=port,
            tls=parts.scheme.endswith("s"),
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """Several URLs with commas between. A comma that no URL follows belongs to a password.

        ValueError: as above, naming which of several it is.
        """
        following = rf",(?=\s*(?:{'|'.join(cls.PORTS)})://)"
        texts = [each.strip() for each in re.split(following, text.strip(), flags=re.IGNORECASE)]
        urls = []
        for number, each in enumerate(texts, 1):
            try:
                urls.append(cls.parse(each))
            except ValueError as error:
                which = "" if len(texts) == 1 else f"in URL {number} of {len(texts)}: "
                hint = f"; of several, each begins with {cls._schemes()}" if "," in each else ""
                raise ValueError(f"{which}{error}{hint}") from None
        return tuple(urls)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{list(self.PORTS)[self.tls]}://{host}:{self.port}"

    @classmethod
    def _schemes(cls) -> str:
        return " or ".join(f"{scheme}://" for scheme in cls.PORTS)

    def proxy(self) -> Proxy | None:
        """The proxy on the way there, by the environment. ProxyError: its URL is wrong."""
        return proxy_for(self.host, self.port) if self.tls else None

    def open(self, *, timeout: float, files: TlsFiles) -> socket.socket:
        """A connected socket; with TLS through the proxy that the environment names, and with the handshake done.

        OSError: no connection, (ProxyError) none through the proxy, or (ssl.SSLError) no trust.
        """
        if (proxy := self.proxy()) is None:
            # The name is looked up anew each time, and all its addresses are tried.
            sock = socket.create_connection((self.host, self.port), timeout=timeout)
        else:
            sock = proxy.connect(self.host, self.port, timeout=timeout)
        try:
            sock.settimeout(timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                # A link that swallows packets is noticed within this time where data is on its way.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1000))
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                # Little waits in the kernel, so that a link that is merely slow is seen to move.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_BYTES)
            if self.tls:
                sock = files.context().wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        return sock


@dataclass(frozen=True, slots=True)
class AmqpUrl(BrokerUrl):
    """Where a node of RabbitMQ is: `amqp://host:5672`, `amqps://user:password@host:5671`."""

    PORTS: ClassVar[dict[str, int]] = {"amqp": 5672, "amqps": 5671}

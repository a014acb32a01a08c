"""Where a broker is and how to get in: `mqtt://host:1883`, `mqtts://user:password@host:8883`."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from face_messages.mqtt.proxy import Proxy, proxy_for

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_KERNEL_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for `mqtts`: the CA to trust instead of the system's, and a client certificate with its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """A parsed MQTT URL. Printing one never shows the password."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> BrokerUrl:
        """Raises:
        ValueError: what is wrong with the URL, without repeating it, since it may hold a password.

        """
        try:
            parts = urlsplit(text)
        except ValueError:  # whose text repeats parts of the URL
            raise ValueError("is no URL; percent-encode what is special in the user name and the password") from None
        if parts.scheme not in _PORTS:
            raise ValueError("must begin with mqtt:// or mqtts://")
        if not parts.hostname:
            raise ValueError("names no host")
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            raise ValueError("names a host that cannot be one") from None
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("has something after the port; a broker's URL ends there")
        try:
            port = _PORTS[parts.scheme] if parts.port is None else parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("has a port that is no number from 1 to 65535")
        return cls(
            host=parts.hostname,
            port=port,
            tls=parts.scheme == "mqtts",
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    @classmethod
    def parse_all(cls, text: str) -> tuple[BrokerUrl, ...]:
        """Several URLs with commas between. A comma that no URL follows belongs to a password.

        Raises:
            ValueError: as above, naming which of several it is.

        """
        texts = [each.strip() for each in re.split(r",(?=\s*mqtts?://)", text.strip(), flags=re.IGNORECASE)]
        urls = []
        for number, each in enumerate(texts, 1):
            try:
                urls.append(cls.parse(each))
            except ValueError as error:
                which = "" if len(texts) == 1 else f"in URL {number} of {len(texts)}: "
                hint = "; of several, each begins with mqtt:// or mqtts://" if "," in each else ""
                raise ValueError(f"{which}{error}{hint}") from None
        return tuple(urls)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    def proxy(self) -> Proxy | None:
        """The proxy on the way there, by the environment.

        Raises:
            ProxyError: its URL is wrong.

        """
        return proxy_for(self.host, self.port) if self.tls else None

    def open(self, *, timeout: float, files: TlsFiles) -> socket.socket:
        """A connected socket, with the TLS handshake done. The files are read anew each time, as they get renewed.

        With TLS it goes through the proxy that the environment names.

        Raises:
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
                context = ssl.create_default_context(cafile=files.ca)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                if files.cert is not None:
                    context.load_cert_chain(files.cert, files.key)
                sock = context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        return sock

"""Where a node is and how to get in: `amqp://host:5672`, `amqps://user:password@host:5671`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pika
from pika import credentials, spec

from face_messages.mqtt.url import BrokerUrl, TlsFiles

# A node that is silent for twice as long is given up, in seconds.
_HEARTBEAT = 10


class _Anonymous(credentials.ExternalCredentials):
    """Nobody in particular, which a broker lets in where it trusts the network."""

    def response_for(self, start: spec.Connection.Start) -> tuple[str | None, bytes | None]:
        """Of a broker that does not, too: the refusal that follows says more than pika would."""
        del start
        return "ANONYMOUS", b""


credentials.VALID_TYPES.append(_Anonymous)


@dataclass(frozen=True, slots=True)
class AmqpUrl(BrokerUrl):
    """A parsed AMQP URL. Printing one never shows the password."""

    PORTS: ClassVar[dict[str, int]] = {"amqp": 5672, "amqps": 5671}

    def parameters(self, *, timeout: float, files: TlsFiles, name: str) -> pika.ConnectionParameters:
        """For a connection called `name`. The user is that of the URL, or the certificate's, or nobody.

        OSError: a file cannot be read, or is none.
        """
        who: Any = _Anonymous()
        if self.username is not None:
            who = credentials.PlainCredentials(self.username, self.password or "")
        elif self.tls and files.cert is not None:
            who = credentials.ExternalCredentials()
        return pika.ConnectionParameters(
            host=self.host,
            port=self.port,
            credentials=who,
            ssl_options=pika.SSLOptions(files.context(), self.host) if self.tls else None,
            heartbeat=_HEARTBEAT,
            socket_timeout=timeout,
            stack_timeout=1.5 * timeout,
            connection_attempts=1,
            client_properties={"connection_name": name},
            tcp_options={"TCP_USER_TIMEOUT": int(timeout * 1000)},
        )

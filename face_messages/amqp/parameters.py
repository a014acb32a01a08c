"""What pika wants to know of a connection."""

import logging
from typing import Any

import pika
from pika import credentials, spec

from face_messages.mqtt.url import BrokerUrl, TlsFiles

# What it logs, the session says in a line of its own.
logging.getLogger("pika").setLevel(logging.CRITICAL + 1)

# A node that is silent for twice as long is given up, in seconds.
_HEARTBEAT = 10


class _Anonymous(credentials.ExternalCredentials):  # type: ignore[misc] # pika has no types
    """Nobody in particular, which a broker lets in where it trusts the network."""

    def response_for(self, start: spec.Connection.Start) -> tuple[str | None, bytes | None]:
        """Asks any broker: the refusal of one that lets nobody in says more than pika would."""
        del start
        return "ANONYMOUS", b""


credentials.VALID_TYPES.append(_Anonymous)


def parameters(url: BrokerUrl, files: TlsFiles, *, timeout: float, name: str) -> pika.ConnectionParameters:
    """For a connection called `name`. The user is that of the URL, or the certificate's, or nobody.

    OSError: a file cannot be read, or is none.
    """
    who: Any = _Anonymous()
    if url.username is not None:
        who = credentials.PlainCredentials(url.username, url.password or "")
    elif url.tls and files.cert is not None:
        who = credentials.ExternalCredentials()
    return pika.ConnectionParameters(
        host=url.host,
        port=url.port,
        credentials=who,
        ssl_options=pika.SSLOptions(files.context(), url.host) if url.tls else None,
        heartbeat=_HEARTBEAT,
        socket_timeout=timeout,
        stack_timeout=1.5 * timeout,
        connection_attempts=1,
        client_properties={"connection_name": name},
        tcp_options={"TCP_USER_TIMEOUT": int(timeout * 1000)},
    )

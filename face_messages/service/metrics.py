"""Which figures each shared part shows, once for all programs."""

from __future__ import annotations

from face_messages.custody.sender import Sender
from face_messages.custody.taker import Taker
from face_messages.mqtt.session import Session
from face_messages.outbox.outbox import Outbox
from face_messages.service.monitor import Monitor


def show_outbox(monitor: Monitor, outbox: Outbox) -> None:
    """The seconds until a backlog is gone are left to PromQL, which knows the past; negative while it grows.

    facedetection_outbox_messages / -deriv(facedetection_outbox_messages[5m])
    """
    monitor.gauge("outbox_messages", "messages on disk, waiting to be confirmed", lambda: outbox.messages_on_disk)
    monitor.gauge(
        "outbox_bytes", "bytes on disk that messages take up, those set aside included", lambda: outbox.bytes_used
    )
    monitor.gauge("outbox_max_bytes", "bytes that the outbox may take up on disk", lambda: outbox.max_bytes)
    monitor.gauge("outbox_oldest_age_seconds", "age of the oldest message in custody", outbox.oldest_age)
    monitor.gauge("outbox_aside_messages", "messages kept that can never be delivered", lambda: outbox.dead_letters)
    monitor.gauge("outbox_refusing", "1 while the outbox cannot take messages", lambda: outbox.trouble is not None)
    monitor.counter("outbox_written", "messages written to disk", lambda: outbox.written)
    monitor.counter("outbox_confirmed", "messages the next keeper has confirmed", lambda: outbox.confirmed)
    monitor.counter(
        "outbox_overwritten", "messages dropped for newer ones in a full outbox", lambda: outbox.overwritten
    )
    monitor.state("outbox", lambda: outbox.trouble or "well")


def show_sender(monitor: Monitor, sender: Sender) -> None:
    monitor.counter("messages_sent", "messages sent, each try counted", lambda: sender.sent)
    monitor.counter("messages_resent", "messages sent again", lambda: sender.resent)
    monitor.gauge("messages_unconfirmed", "messages on the wire without a receipt", lambda: sender.unconfirmed)


def show_taker(monitor: Monitor, taker: Taker) -> None:
    monitor.counter("messages_taken", "messages taken from the broker, resends counted", lambda: taker.taken)
    monitor.counter("messages_refused", "messages refused: too large, or unreadable", lambda: taker.refused)
    monitor.gauge("messages_held", "messages taken and not safe yet", lambda: taker.held)


def show_session(monitor: Monitor, connection: Session, name: str) -> None:
    """`name` tells which of a program's brokers it is: `edge` or `cloud`."""
    monitor.gauge(f"{name}_broker_up", f"1 while the {name} broker is connected", lambda: connection.is_up)
    monitor.counter(f"{name}_broker_connects", f"connections made to the {name} broker", lambda: connection.connects)
    monitor.check(f"{name} connection", lambda: connection.is_alive)
    monitor.state(f"{name}_broker", lambda: "up" if connection.is_up else "down")

"""What it means when a broker says no, in words that say what to do."""

from collections.abc import Sequence

from paho.mqtt.reasoncodes import ReasonCode

from face_messages.mqtt.client import Subscription

_CONNACK = {
    0x84: "the broker does not speak MQTT 5, which receipts need",
    0x86: "the broker refuses the user name or password: check the URL",
    0x87: "the broker does not let this client in: check user, password and certificate",
}

_DISCONNECT = {
    0x8B: "the broker is shutting down",
    0x8E: "another client connected under the same id (give each its own), or this one was revoked",
}


class RejectedError(OSError):
    """The broker answered, and said no; trying again may help once somebody has mended it."""


def check_connack(reason: ReasonCode) -> None:
    """Raises RejectedError unless the broker lets this client in."""
    if reason.is_failure:
        raise RejectedError(_CONNACK.get(reason.value, f"the broker refuses ({reason})"))


def check_suback(reasons: Sequence[ReasonCode], subscriptions: Sequence[Subscription]) -> list[str]:
    """The filters that were refused and are only good to have, which are those with QoS 0.

    RejectedError: one was refused that is needed, or all were.
    """
    answers = zip(subscriptions, reasons, strict=False)
    refused = [(*subscription, reason) for subscription, reason in answers if reason.is_failure]
    for _, options, reason in refused:
        if options.QoS or len(refused) == len(subscriptions):
            raise RejectedError(f"the broker refuses the subscription ({reason}): check access rules and certificate")
    return [name for name, _, _ in refused]


def hung_up(reason: ReasonCode) -> RejectedError:
    """What a DISCONNECT from the broker means."""
    return RejectedError(_DISCONNECT.get(reason.value, f"the broker hung up ({reason})"))

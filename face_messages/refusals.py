"""What it means when a broker says no, in words that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

import mqtt5

# Reason codes from here on are failures (MQTT 5.0, section 2.4). They are numbers here, as the codec's enumerations
# can be neither compared nor hashed.
_FAILURE = 0x80

_CONNACK = {
    0x84: "the broker does not speak MQTT 5, which receipts need",
    0x86: "the broker refuses the user name or password: check the URL",
    0x87: "the broker does not let this client in: check user, password and certificate",
}

_DISCONNECT = {
    0x8B: "the broker is shutting down",
    0x8E: "another client connected under the same id (give each its own), or this one was revoked",
}


class RefusedError(OSError):
    """The broker answered, and said no; trying again may help once somebody has mended it."""


def check_connack(packet: mqtt5.ConnAckPacket) -> None:
    """Raises RefusedError unless the broker lets this client in."""
    code = packet.reason_code
    if int(code) >= _FAILURE:
        raise RefusedError(_CONNACK.get(int(code), f"the broker refuses ({code.name})"))


def check_suback(packet: mqtt5.SubAckPacket, filters: Sequence[mqtt5.TopicFilter]) -> list[str]:
    """The filters that were refused and are only good to have, which are those with QoS 0.

    Raises:
        RefusedError: one was refused that is needed, or all were.

    """
    codes = zip(filters, packet.reason_codes, strict=False)
    refused = [(each, code) for each, code in codes if int(code) >= _FAILURE]
    for each, code in refused:
        if int(each.max_qos) or len(refused) == len(filters):
            raise RefusedError(f"the broker refuses the subscription ({code.name}): check access rules and certificate")
    return [each.pattern for each, _ in refused]


def hung_up(packet: mqtt5.DisconnectPacket) -> RefusedError:
    """What a DISCONNECT from the broker means."""
    code = packet.reason_code
    return RefusedError(_DISCONNECT.get(int(code), f"the broker hung up ({code.name})"))

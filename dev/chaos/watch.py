"""Pictures and PUTs on a link, read from its bytes: one reader a connection, as a cut leaves a packet unfinished."""

import re
from collections.abc import Callable, Iterator

from dev.stack.pictures import SIGNATURE, number_of

#: Takes the bytes in their order; yields a name for each complete thing, so that equal names can be counted.
Reader = Callable[[bytes], Iterator[object]]

_PUT = re.compile(rb"PUT (/\S+) HTTP/1\.1\r\n")
_LONGEST_REQUEST_LINE = 2048
_PUBLISH = 3


def puts() -> Reader:
    """Reads the paths of HTTP PUT requests."""
    tail = b""

    def read(data: bytes) -> Iterator[object]:
        nonlocal tail
        text = tail + data
        end = 0
        for match in _PUT.finditer(text):
            yield match[1]
            end = match.end()
        tail = text[max(end, len(text) - _LONGEST_REQUEST_LINE) :]

    return read


def pictures() -> Reader:
    """Reads the numbers of the pictures in PUBLISH packets; MQTT 5 and 3.1.1 frame them in the same way."""
    unread = bytearray()

    def read(data: bytes) -> Iterator[object]:
        unread.extend(data)
        while (packet := _first_packet(unread)) is not None:
            if packet[0] >> 4 == _PUBLISH and (start := packet.find(SIGNATURE)) >= 0:
                yield number_of(packet[start:])
            del unread[: len(packet)]

    return read


def _first_packet(data: bytearray) -> bytes | None:
    """The packet at the start, when all of it is there. MQTT 5.0, sections 2.1.1 and 1.5.5."""
    length = 0
    for i, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            size = 2 + i + length
            return bytes(data[:size]) if len(data) >= size else None
    return None

"""What a server answers to an HTTP request.

http.client would do; but it reads headers with the parser for e-mails, a good part of what a PUT would cost then.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from math import inf
from typing import NamedTuple

#: The XML of an error is far below; whoever sends more may be sending for ever.
MAX_BYTES = 64 * 1024
_PIECE = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.(\d) (\d\d\d)[ \r]")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r\n")


class Answer(NamedTuple):
    """`headers` have names in lower case. `body` is what came of it in time, and of its first bytes as asked for."""

    status: int
    headers: dict[str, str]
    body: bytes
    #: Whether another request may follow on the connection.
    reusable: bool


def read_answer(sock: socket.socket, *, seconds: float, to_head: bool, max_bytes: int = MAX_BYTES) -> Answer:
    """Reads the answer to a request (https://www.rfc-editor.org/rfc/rfc9112).

    Args:
        sock: with a timeout, and nothing else to come.
        seconds: after which nothing more is read: a byte now and then is no answer.
        to_head: whether the request was a HEAD, so that no body follows.
        max_bytes: of the body; what is beyond is not read.

    Raises:
        TimeoutError: it did not come in time.
        ConnectionResetError: the server broke off.
        OSError: or what it says is no HTTP.

    """
    deadline = time.monotonic() + seconds

    def more() -> bytes:
        if time.monotonic() > deadline:
            raise TimeoutError("the answer does not come to an end")
        return sock.recv(_PIECE)

    data, status = b"", 100
    while status < 200:  # 100 Continue, say: the answer itself follows
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > MAX_BYTES:
                raise OSError("its answer does not come to an end")
            if not (piece := more()):
                raise ConnectionResetError("it broke off")
            data += piece
        if not (line := _STATUS.match(data)):
            raise OSError("it does not speak HTTP")
        minor_version, status = line[1], int(line[2])
        head, data = data[:end].decode("latin-1"), data[end + 4 :]
    fields = (field.partition(":") for field in head.split("\r\n")[1:])
    headers = {name.lower(): value.strip() for name, _, value in fields}

    chunked, length = "transfer-encoding" in headers, inf
    if to_head or status == 204:
        length = 0
    elif headers.get("content-length", "").isdecimal():
        length = int(headers["content-length"])
    # The status has told what matters, whatever becomes of the rest.
    with contextlib.suppress(OSError):
        while len(data) < min(length, max_bytes) and not (chunked and _unchunked(data)[1]) and (piece := more()):
            data += piece
    reusable = len(data) == length and minor_version != b"0" and "close" not in headers.get("connection", "").lower()
    return Answer(status, headers, _unchunked(data)[0] if chunked else data, reusable)


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """The content of chunks, and whether the last is among them."""
    content = b""
    while (chunk := _CHUNK.match(data)) and (size := int(chunk[1], 16)):
        content += data[chunk.end() : chunk.end() + size]
        data = data[chunk.end() + size + 2 :]
    return content, chunk is not None

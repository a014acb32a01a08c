"""When a certificate ends: as a figure, and as a warning while there is time to renew it."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from datetime import datetime
from pathlib import Path

from face_messages.service.monitor import Monitor

log = logging.getLogger(__name__)

_WARN_DAYS = 30
_DAY = 86400.0

_VERSION, _UTC_TIME = 0xA0, 0x17


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first DER element (X.690, section 8.1), and what follows it."""
    size, start = der[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start])
    return der[0], der[start : start + size], der[start + size :]


def ends_at(path: Path) -> float:
    """The end of the first certificate in a PEM file, in seconds since 1970 (RFC 5280, sections 4.1 and 4.1.2.5).

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.

    """
    pem = path.read_text(errors="replace")
    begin, end = pem.find(ssl.PEM_HEADER), pem.find(ssl.PEM_FOOTER)
    if begin < 0 or end < begin:
        raise ValueError(f"{path} holds no certificate in PEM")
    try:
        rest = ssl.PEM_cert_to_DER_cert(pem[begin : end + len(ssl.PEM_FOOTER)])
        for _ in ("certificate", "what is signed"):
            _, rest, _ = _element(rest)
        if rest[0] == _VERSION:
            _, _, rest = _element(rest)
        for _ in ("serial number", "algorithm", "issuer"):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest)
        _, _, rest = _element(validity)
        tag, stamp, _ = _element(rest)
        text = stamp.decode()
        if tag == _UTC_TIME:
            text = f"{'20' if text < '50' else '19'}{text}"
        ends = datetime.strptime(text, "%Y%m%d%H%M%S%z")
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} holds something else than a certificate: {error}") from error
    return ends.timestamp()


def watch_certificate(path: Path, monitor: Monitor, stop: threading.Event, *, every: float = _DAY) -> None:
    """Shows a certificate's end as a figure, and warns every `every` seconds in its last 30 days, until `stop` is set.

    The file is read anew each time, as it gets renewed.
    """

    def read() -> float:
        try:
            return ends_at(path)
        except (OSError, ValueError):
            return float("nan")  # what is wrong with it is told where it is used

    def warn() -> None:
        while True:
            left = (read() - time.time()) / _DAY
            if left <= 0:
                log.warning("the certificate %s has ended: renew it (docs/deployment.md)", path)
            elif left < _WARN_DAYS:
                log.warning("the certificate %s ends in %.0f days: renew it (docs/deployment.md)", path, left)
            if stop.wait(every):
                return

    text = "when this program's certificate ends, in seconds since 1970"
    monitor.gauge("certificate_expires_timestamp_seconds", text, read)
    threading.Thread(target=warn, name="certificate", daemon=True).start()

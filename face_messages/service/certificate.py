"""When a certificate ends: as a figure, and as a warning while there is time to renew it."""

import logging
import re
import ssl
import threading
import time
from datetime import datetime
from pathlib import Path

from face_messages.service.monitor import Monitor

log = logging.getLogger(__name__)

_WARN_DAYS = 30
_DAY = 86400.0

# The two times of its validity, of which the second is the end (RFC 5280, section 4.1.2.5): UTCTime or GeneralizedTime.
_TIME = rb"(?:\x17\x0d(\d{12}Z)|\x18\x0f(\d{14}Z))"
_VALIDITY = re.compile(rb"\x30." + _TIME + _TIME, re.DOTALL)


def ends_at(path: Path) -> float | None:
    """The end of the first certificate in a PEM file, in seconds since 1970.

    None where it cannot be read, or holds none: its user says what is wrong with it.
    """
    try:
        pem = path.read_text(errors="replace")
        begin, end = pem.index(ssl.PEM_HEADER), pem.index(ssl.PEM_FOOTER)
        match = _VALIDITY.search(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(ssl.PEM_FOOTER)]))
        text = "" if match is None else (match[3] or match[4]).decode()
        if match is not None and match[3]:
            text = f"{'20' if text < '50' else '19'}{text}"
        return datetime.strptime(text, "%Y%m%d%H%M%S%z").timestamp()
    except (OSError, ValueError):
        return None


def watch_certificate(path: Path, monitor: Monitor, stop: threading.Event, *, every: float = _DAY) -> None:
    """Shows a certificate's end as a figure, and warns every `every` seconds in its last 30 days, until `stop` is set.

    The file is read anew each time, as it gets renewed.
    """

    def read() -> float:
        return ends_at(path) or float("nan")

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

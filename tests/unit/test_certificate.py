"""When a certificate ends: read, shown and told."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import pytest
from cryptography import x509

from face_messages import Monitor
from face_messages.service.certificate import ends_at, watch_certificate
from tests.support.certificates import Authority
from tests.support.waiting import eventually

FIGURE = "facedetection_certificate_expires_timestamp_seconds"


@pytest.mark.parametrize(("days", "line"), [(29, "ends in 29 days"), (31, None), (-2, "has ended")])
def test_the_last_days_of_a_certificate_are_told_daily(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int, line: str | None
) -> None:
    monitor, stop = Monitor(), threading.Event()
    pair = Authority(tmp_path).issue("tx2-01", days=days + 0.01)
    with caplog.at_level(logging.WARNING):
        watch_certificate(pair.cert, monitor, stop, every=0.01)
        try:
            if line is not None:
                eventually(lambda: caplog.text.count(line) >= 3, what=lambda: caplog.text)
            shutil.copy(Authority(tmp_path, "other").issue("renewed", days=400).cert, pair.cert)
            eventually(lambda: monitor.registry.get_sample_value(FIGURE) == ends_at(pair.cert), what="not read anew")
        finally:
            stop.set()
    assert line is not None or caplog.text == ""


@pytest.mark.parametrize("days", [1, 20_000])
def test_the_end_is_read_as_others_read_it(tmp_path: Path, days: int) -> None:
    """Also beyond 2049, where certificates write it in another form."""
    pair = Authority(tmp_path).issue("x" * 60, days=days)
    assert ends_at(pair.cert) == x509.load_pem_x509_certificate(pair.cert.read_bytes()).not_valid_after_utc.timestamp()


@pytest.mark.parametrize(
    "text",
    ["", "no PEM", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "{0}AAAA{1}", "{0}MIIB{1}", "{1}{0}"],
)
def test_what_is_no_certificate_has_no_end(tmp_path: Path, text: str) -> None:
    path = tmp_path / "edge.crt"
    path.write_text(text.format("-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"))
    assert ends_at(path) is None
    monitor, stop = Monitor(), threading.Event()
    watch_certificate(path, monitor, stop)
    stop.set()
    value = monitor.registry.get_sample_value(FIGURE)
    assert value != value  # noqa: PLR0124 - nothing but NaN differs from itself

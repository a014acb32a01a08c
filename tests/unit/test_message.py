"""Which messages are owed a receipt, and where it may go."""

from __future__ import annotations

import pytest

from face_messages import Message
from face_messages.message import printable, reasons_of, refusal_of


def owed(response_topic: str | None, correlation: bytes | None = b"id") -> bool:
    return Message("t", b"", response_topic=response_topic, correlation_data=correlation).wants_receipt


def test_a_client_s_receipts_topic_gets_one() -> None:
    """As the design names it."""
    assert owed("facedetection_receipts/tx2")
    assert owed("facedetection_receipts/tx2.cam-0_é ☃")


@pytest.mark.parametrize(
    "topic",
    [
        None,
        "",
        "facedetection_receipts",
        "facedetection_receipts/",
        "facedetection_receipts/a/b",
        "facedetection_receipts/+",
        "facedetection_receipts/#",
        "facedetection_receipts/a\x00",
        "facedetection_receipts/a\n",
        "facedetection_receipts/" + "x" * 257,
        "facedetection_receipts_/x",
        "/facedetection_receipts/x",
        "x/facedetection_receipts/x",
        "facedetection_control/tx2/cam0",
        "facedetection_status/tx2",
        "facedetection_topic",
        "$SYS/broker",
        "#",
    ],
)
def test_no_other_topic_does(topic: str | None) -> None:
    """A keeper must not be made to write wherever its rights reach."""
    assert not owed(topic)


@pytest.mark.parametrize("correlation", [None, b"", b"a\nb", b"\n", b"x" * 513])
def test_a_correlation_that_fits_no_line_gets_none(correlation: bytes | None) -> None:
    """A receipt is one correlation a line."""
    assert not owed("facedetection_receipts/x", correlation)


@pytest.mark.parametrize("correlation", [b"x", b"\xff\xfe\x00", b"\r", b"x" * 512])
def test_any_other_bytes_do(correlation: bytes) -> None:
    """They need not be text."""
    assert owed("facedetection_receipts/x", correlation)


def test_a_refusal_goes_where_a_receipt_would_and_names_no_message_in_its_payload() -> None:
    """So that nobody takes it for a receipt."""
    asked = Message("t", b"picture", response_topic="facedetection_receipts/tx2", correlation_data=b"id")
    answer = refusal_of(asked, "too large")
    assert (answer.topic, answer.payload, answer.correlation_data) == ("facedetection_receipts/tx2", b"", b"id")
    assert reasons_of(answer.user_properties) == ["too large"]
    assert not answer.wants_receipt


def test_a_receipt_has_no_reasons() -> None:
    """Whatever other properties somebody gives it."""
    assert reasons_of([]) == []
    assert reasons_of([("Refused", "x"), ("reason", "x")]) == []


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202e", "\ud800", "x" * 100_000, "\x00" * 100_000])
def test_reasons_are_fit_to_be_shown(text: str) -> None:
    """On both ways: what the store said, and what came from the network."""
    asked = Message("t", b"", response_topic="facedetection_receipts/tx2", correlation_data=b"id")
    for reason in (printable(text), reasons_of([("refused", text)])[0], refusal_of(asked, text).user_properties[0][1]):
        assert reason.isprintable()
        assert len(reason) <= 500

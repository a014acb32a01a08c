"""How long a sender waits for a receipt before it asks."""

from __future__ import annotations

from itertools import pairwise

import pytest

from face_messages.custody.in_flight import ResendTimer


def test_patience_begins_within_its_bounds() -> None:
    """Drawn, so that many senders do not ask in step."""
    drawn = {ResendTimer((20, 30)).timeout for _ in range(20)}
    assert len(drawn) > 1
    assert all(20 <= patience <= 30 for patience in drawn)


def test_slow_receipts_make_patient() -> None:
    """Of a keeper that takes 60 s for each, the one after 70 s is not overdue."""
    trip = ResendTimer((20, 20))
    for i in range(1, 30):
        trip.confirmed(now=60.0 * i, sent_at=60.0 * (i - 1), first_try=True)
    sent = 60.0 * 29
    assert not trip.is_overdue(sent + 59, sent)


def test_what_was_sent_twice_is_not_measured() -> None:
    """Nobody knows which of the two the receipt is for (Karn's algorithm)."""
    trip = ResendTimer((20, 20))
    trip.confirmed(now=1000.0, sent_at=0.0, first_try=False)
    trip.resumed(1000.0)
    assert trip.timeout == 20


def test_each_question_without_an_answer_doubles_the_patience() -> None:
    """Up to five minutes."""
    trip = ResendTimer((20, 20))
    trip.resumed(0.0)
    asked: list[float] = []
    now = 0.0
    while len(asked) < 8:
        now += 1.0
        if trip.is_overdue(now, 0.0):
            asked.append(now)
            trip.asked(now)
    pauses = [b - a for a, b in pairwise([0.0, *asked])]
    assert pauses == [20, 40, 80, 160, 300, 300, 300, 300]


def test_an_answer_makes_impatient_again() -> None:
    """The keeper goes on, and what waited with it gets its time first."""
    trip = ResendTimer((20, 20))
    trip.resumed(0.0)
    for now in (20.0, 60.0, 140.0):
        trip.asked(now)
    trip.confirmed(now=200.0, sent_at=140.0, first_try=False)
    assert not trip.is_overdue(219.0, 0.0)
    assert trip.is_overdue(220.0, 0.0)


@pytest.mark.parametrize(("confirmed_sent_at", "flowing"), [(9.0, False), (11.0, True)])
def test_receipts_of_later_messages_show_that_an_earlier_one_is_lost(confirmed_sent_at: float, flowing: bool) -> None:
    """Those of earlier ones show nothing."""
    trip = ResendTimer((20, 20))
    trip.resumed(0.0)
    trip.confirmed(now=12.0, sent_at=confirmed_sent_at, first_try=True)
    assert trip.is_flowing(sent_at=10.0) is flowing

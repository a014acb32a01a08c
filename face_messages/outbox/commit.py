"""One group commit of an outbox: what goes into a transaction, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from face_messages.outbox.database import OutboxFile, Row, Totals
from face_messages.outbox.pending import Put


class WhenFull(StrEnum):
    """What gives way when an outbox has used up its bytes."""

    REJECT_NEW = "reject-new"
    OVERWRITE_OLDEST = "overwrite-oldest"


@dataclass(slots=True)
class Outcome:
    """What a transaction did."""

    totals: Totals
    safe: list[Put] = field(default_factory=list)
    #: Those that found no room.
    left: list[Put] = field(default_factory=list)
    confirmed: int = 0
    #: Ids of what went to make room, and of what was set aside.
    overwritten: list[bytes] = field(default_factory=list)
    aside: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Limits:
    """`room` is for rows, in bytes."""

    room: int
    when_full: WhenFull


def commit(
    file: OutboxFile,
    *,
    puts: list[Put],
    discards: list[bytes],
    asides: list[tuple[bytes, str]],
    totals: Totals,
    limits: Limits,
) -> Outcome:
    """All of it in one transaction.

    Raises:
        sqlite3.OperationalError: the disk refuses; nothing has changed.

    """
    outcome = Outcome(replace(totals))
    with file.transaction():
        for cost, was_aside in file.delete(discards):
            outcome.totals.less(cost, was_aside=was_aside)
            outcome.confirmed += 1
        _put_all(file, puts, limits, outcome)
        for message_id, reason in asides:
            if file.set_aside(message_id, reason):
                outcome.aside.append(message_id)
                outcome.totals.aside += 1
                outcome.totals.messages -= 1
    return outcome


def _put_all(file: OutboxFile, puts: list[Put], limits: Limits, outcome: Outcome) -> None:
    totals = outcome.totals
    rows: list[Row] = []
    for place, put in enumerate(puts):
        row = Row.of(put.seq, put.id, put.message)
        while limits.when_full is WhenFull.OVERWRITE_OLDEST and totals.bytes + row.cost > limits.room:
            if (oldest := file.delete_oldest()) is None:
                break
            message_id, cost, was_aside = oldest
            totals.less(cost, was_aside=was_aside)
            outcome.overwritten.append(message_id)
        if totals.bytes + row.cost > limits.room:
            outcome.left = puts[place:]
            break
        rows.append(row)
        totals.bytes += row.cost
        totals.messages += 1
    file.insert_all(rows)
    outcome.safe = puts[: len(rows)]

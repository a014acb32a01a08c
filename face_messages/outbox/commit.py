"""One group commit of an outbox: what goes into a transaction, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from face_messages.outbox.database import Kept, OutboxFile, Totals, row_of


class WhenFull(StrEnum):
    """What gives way when an outbox has used up its bytes."""

    REJECT_NEW = "reject-new"
    OVERWRITE_OLDEST = "overwrite-oldest"


@dataclass(slots=True)
class Outcome:
    """What a transaction did."""

    totals: Totals
    #: Messages that were written; those behind them found no room.
    written: int = 0
    confirmed: int = 0
    #: Ids of messages that went to make room, and of new dead letters.
    overwritten: list[bytes] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)


def commit(
    file: OutboxFile,
    totals: Totals,
    *,
    group: Sequence[Kept],
    confirmed: Sequence[bytes],
    dead: Sequence[tuple[bytes, str]],
    room: int,
    when_full: WhenFull,
) -> Outcome:
    """All of it in one transaction. `room` is for rows, in bytes.

    Raises:
        sqlite3.OperationalError: the disk refuses; nothing has changed.

    """
    outcome = Outcome(replace(totals))
    totals = outcome.totals
    with file.transaction():
        for cost, was_dead in file.delete(confirmed):
            totals.less(cost, was_dead=was_dead)
            outcome.confirmed += 1
        rows = []
        for kept in group:
            properties, cost = row_of(kept)
            while when_full is WhenFull.OVERWRITE_OLDEST and totals.bytes + cost > room:
                if (oldest := file.delete_oldest()) is None:
                    break
                message_id, its_cost, was_dead = oldest
                totals.less(its_cost, was_dead=was_dead)
                outcome.overwritten.append(message_id)
            if totals.bytes + cost > room:
                break
            rows.append((kept, properties, cost))
            totals.bytes += cost
            totals.messages += 1
        file.insert_all(rows)
        outcome.written = len(rows)
        for message_id, reason in dead:
            if file.set_dead(message_id, reason):
                outcome.dead.append(message_id)
                totals.dead_letters += 1
                totals.messages -= 1
    return outcome

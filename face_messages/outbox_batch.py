"""One group commit of an outbox: what goes into a transaction, and what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from face_messages.event import new_id
from face_messages.message import Message
from face_messages.outbox_file import Kept, OutboxFile, Totals

log = logging.getLogger(__name__)


class WhenFull(StrEnum):
    """What gives way when an outbox has used up its bytes."""

    REJECT_NEW = "reject-new"
    OVERWRITE_OLDEST = "overwrite-oldest"


@dataclass(frozen=True, slots=True)
class Put:
    """A message that was handed over; `done` is called when it is safe."""

    id: bytes
    message: Message
    done: Callable[[], None]
    properties: bytes
    cost: int


@dataclass(slots=True)
class Outcome:
    """What a transaction did."""

    totals: Totals
    safe: list[Put] = field(default_factory=list)
    #: Those that found no room.
    left: list[Put] = field(default_factory=list)
    #: The rows that are new, in their order.
    kept: list[Kept] = field(default_factory=list)
    confirmed: int = 0
    overwritten: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of rows: what there is room for now, and what there could ever be room for."""

    room: int
    at_most: int
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
        _let_go(file, discards, outcome)
        for message_id, reason in asides:
            if file.set_aside(message_id, reason):
                outcome.totals.aside += 1
                outcome.totals.messages -= 1
        cost = sum(put.cost for put in puts)
        if outcome.totals.bytes + cost <= limits.room and not file.holds_any({put.id for put in puts}, len(puts)):
            outcome.kept = file.insert_all(puts)
            outcome.totals.bytes += cost
            outcome.totals.messages += len(puts)
            outcome.safe = puts
        else:
            _put_each(file, puts, limits, outcome)
    return outcome


def _let_go(file: OutboxFile, ids: list[bytes], outcome: Outcome) -> None:
    for cost, was_aside in file.delete(ids):
        outcome.totals.bytes -= cost
        outcome.totals.aside -= was_aside
        outcome.totals.messages -= not was_aside
        outcome.confirmed += 1


def _put_each(file: OutboxFile, puts: list[Put], limits: Limits, outcome: Outcome) -> None:
    """One by one, where room is short or an id is held already."""
    totals = outcome.totals
    for place, put in enumerate(puts):
        if put.cost > limits.at_most:
            # Never confirmed, so its sender still has it; those behind it must not wait for the impossible.
            log.error("a message of %d bytes is larger than the whole outbox: not kept", put.message.size)
            continue
        if totals.bytes + put.cost > limits.room and file.holds(put.id, put.message):
            outcome.safe.append(put)  # needs no room: its sender has missed the receipt, and that is all
            continue
        while limits.when_full is WhenFull.OVERWRITE_OLDEST and totals.bytes + put.cost > limits.room:
            if not (freed := file.delete_oldest()):
                break
            totals.bytes -= freed
            totals.messages -= 1
            outcome.overwritten += 1
        if totals.bytes + put.cost > limits.room:
            outcome.left = puts[place:]
            return
        if (kept := _insert(file, put)) is not None:
            totals.bytes += put.cost
            totals.messages += 1
            outcome.kept.append(kept)
        outcome.safe.append(put)


def _insert(file: OutboxFile, put: Put) -> Kept | None:
    """The new row; None where this very message is held already."""
    while file.holds_any({put.id}, 1):
        if file.holds(put.id, put.message):
            return None
        # Another message under an id that is taken: whatever its sender did wrong, it must neither
        # vanish nor replace the first. It goes on under an id of its own.
        put = replace(put, id=new_id().encode())
    return file.insert_all([put])[0]

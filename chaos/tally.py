"""Counts what was produced against what is in the bucket."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from chaos.pictures import number_of
from chaos.stage import BUCKET, Stage


@dataclass(frozen=True, slots=True)
class Tally:
    """The outcome of a run."""

    produced: int
    stored: int
    lost: int
    damaged: int
    objects_twice: int
    puts: int
    puts_twice: int

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.damaged or self.objects_twice) and self.produced > 0


def produced_numbers(journal: Path) -> set[int]:
    """The pictures that an outbox has confirmed to hold."""
    if not journal.exists():
        return set()
    return {int(line) for line in journal.read_text().split() if line.isdigit()}


class Bucket:
    """The bucket's pictures; each file is read once, however often one looks."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._numbers: dict[str, int | None] = {}

    def numbers(self) -> Counter[int]:
        for key, path in self._stage.s3.objects(BUCKET).items():
            if key not in self._numbers:
                self._numbers[key] = number_of(path.read_bytes())
        return Counter(number for number in self._numbers.values() if number is not None)

    @property
    def damaged(self) -> int:
        return sum(number is None for number in self._numbers.values())


def tally(stage: Stage, bucket: Bucket) -> Tally:
    produced = produced_numbers(stage.journal)
    stored = bucket.numbers()
    puts = stage.links["saver-S3"].puts
    return Tally(
        produced=len(produced),
        stored=len(stored),
        lost=len(produced - stored.keys()),
        damaged=bucket.damaged,
        objects_twice=sum(count > 1 for count in stored.values()),
        puts=sum(puts.values()),
        puts_twice=sum(count - 1 for count in puts.values()),
    )

"""Counts the produced pictures against the stored ones."""

import math
from collections import Counter
from dataclasses import dataclass

from dev.chaos.stage import Link, Stage
from dev.stack.figures import Table
from dev.stack.pictures import number_of
from dev.stack.s3 import S3Server

_DRY = "time to run dry, s"
_RESENDS = "resends, forwarder to cloud, %"


@dataclass(frozen=True, slots=True)
class Tally:
    """The outcome of a run, as the rows of the table. Things sent twice are in percent of all that was sent."""

    rows: dict[str, float]

    @property
    def produced(self) -> int:
        return int(self.rows["produced"])

    @property
    def is_good(self) -> bool:
        bad = any(self.rows[name] for name in ("lost", "damaged", "objects twice"))
        return not bad and self.produced > 0 and math.isfinite(self.rows[_DRY])

    def line(self) -> str:
        """The figures that matter most."""
        rows = self.rows
        dry = f"dry after {rows[_DRY]:.1f} s" if math.isfinite(rows[_DRY]) else "never dry"
        twice = f"{rows['objects twice']} twice, {rows['PUTs twice, %']:.2f} % of PUTs twice"
        sent = f"{rows[_RESENDS]:.2f} % sent again to the cloud"
        return f"{self.produced} produced, {rows['lost']} lost, {rows['damaged']} damaged, {twice}, {sent}, {dry}"


def table(tallies: dict[int, Tally], about: str) -> Table:
    """A column for each seed and, where there are several, the worst of each row."""
    several = len(tallies) > 1
    rows = []
    for name in next(iter(tallies.values())).rows:
        values = [tally.rows[name] for tally in tallies.values()]
        if several:
            values.append((min if name.startswith(("produced", "stored")) else max)(values))
        rows.append([name, *map(_cell, values)])
    return Table("Chaos", about, ["", *(f"seed {seed}" for seed in tallies), *(["worst"] if several else [])], rows)


def _cell(value: float) -> str:
    if not math.isfinite(value):
        return "never"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


class Bucket:
    """The bucket's pictures. It reads each file once."""

    def __init__(self, s3: S3Server) -> None:
        self._s3 = s3
        self._numbers: dict[str, int | None] = {}

    def numbers(self) -> Counter[int]:
        for key, path in self._s3.objects().items():
            if key not in self._numbers:
                self._numbers[key] = number_of(path.read_bytes())
        return Counter(number for number in self._numbers.values() if number is not None)

    @property
    def damaged(self) -> int:
        return sum(number is None for number in self._numbers.values())


def tally(stage: Stage, bucket: Bucket, *, dry: float) -> Tally:
    """Count; `dry`: seconds until all was delivered, infinite where it was not."""
    produced, stored = stage.numbers(), bucket.numbers()
    rows = {
        "produced": len(produced),
        "stored": len(stored),
        "lost": len(produced - stored.keys()),
        "damaged": bucket.damaged,
        "objects twice": sum(count > 1 for count in stored.values()),
        "PUTs twice, %": _repeated(stage.links["saver-S3"]),
        "resends, producer to edge, %": max(_repeated(stage.links[f"producer-edge{of}"]) for of in stage.producers),
        _RESENDS: _repeated(stage.links["forwarder-cloud"])
        if "forwarder-cloud" in stage.links
        else _percent(stage.sent - len(produced), stage.sent),
        _DRY: dry,
    }
    if len(stage.producers) > 1:
        for of, producer in stage.producers.items():
            own = producer.numbers()
            rows[f"produced, edge{of}"] = len(own)
            rows[f"lost, edge{of}"] = len(own - stored.keys())
            rows[f"objects twice, edge{of}"] = sum(stored[number] > 1 for number in own)
    return Tally(rows | {f"highest memory, {name}, MB": round(peak / 1e6) for name, peak in stage.peaks.items()})


def _repeated(link: Link) -> float:
    """Things that passed it again, in percent of all that passed it."""
    return _percent(link.passed.total() - len(link.passed), link.passed.total())


def _percent(part: int, whole: int) -> float:
    return 100 * max(0, part) / max(1, whole)

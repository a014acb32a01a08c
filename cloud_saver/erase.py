"""Deletes what a camera saw between two times: people have the right to it."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from object_store.bucket import Bucket
from object_store.errors import MAYBE_THE_OBJECT, StoreError
from object_store.keys import moment
from object_store.listing import Listed, objects

# As many as S3 takes at once.
_BATCH = 1000
# The next pass finds what was stored meanwhile, and tries again what could not be deleted.
_PASSES = 3


class Span(NamedTuple):
    """The objects in a folder whose keys are greater than `after` and less than `before`."""

    folder: str
    after: str
    before: str


def seen(folder: str, begin: datetime, end: datetime) -> Span:
    """What the camera with this folder saw from `begin` on and before `end`, both aware."""
    return Span(folder, *(folder + moment(time.astimezone(UTC)) for time in (begin, end)))


def of_nobody(begin: datetime, end: datetime) -> list[Span]:
    """Messages without a sender, received from the day (UTC) `begin` on and before the day `end`, both aware."""
    days = [f"{time.astimezone(UTC):%Y/%m/%d}/" for time in (begin, end)]
    return [Span(folder, *(folder + day for day in days)) for folder in ("faces/unattributed/", "unrecognized/")]


@dataclass
class Erasure:
    """Deletes the objects in some spans of the bucket. It calls `progress` with their number so far, now and then."""

    store: Bucket
    spans: list[Span]
    progress: Callable[[int], None] = lambda _deleted: None
    #: Objects deleted so far; in a bucket with versions, versions.
    deleted: int = 0
    #: Whether the bucket keeps what is deleted, and these credentials cannot see it.
    kept_versions: bool = False
    #: Whether objects were left at the end: they came meanwhile, or could not be deleted.
    unfinished: bool = False
    _versions: bool | None = field(default=None, init=False)

    def found(self) -> Iterator[Listed]:
        """The objects to delete. Raises StoreError if they cannot be listed."""
        if self._versions is None:
            self._versions = has_versions(self.store)
        for span in self.spans:
            yield from objects(self.store, span.folder, after=span.after, before=span.before, versions=self._versions)

    def run(self) -> dict[str, str]:
        """Deletes them all; returns the keys that could not be deleted, with the store's reasons.

        It may be interrupted and run again at any time. Raises StoreError if the store does not list or delete.
        """
        failed: dict[str, str] = {}
        for _ in range(_PASSES):
            failed, found, self.unfinished = {}, self.found(), False
            while batch := list(itertools.islice(found, _BATCH)):
                self.unfinished = True
                kept = self._delete(batch)
                failed |= kept
                self.deleted += len(batch) - len(kept)
                self.progress(self.deleted)
            if not self.unfinished:
                break
        return failed

    def _delete(self, batch: list[Listed]) -> dict[str, str]:
        wanted = [{"Key": each.key} | ({"VersionId": each.version} if each.version else {}) for each in batch]
        answer = self.store.ask("delete_objects", Delete={"Objects": wanted})
        deleted, errors = answer.get("Deleted", []), answer.get("Errors", [])
        self.kept_versions |= not self._versions and any(each.get("DeleteMarker") for each in deleted)
        if len(deleted) + len(errors) < len(batch):
            raise self.store.is_no_store("it does not tell of all objects of a request")
        return {error.get("Key", ""): error.get("Code") or "no reason given" for error in errors}


def has_versions(store: Bucket) -> bool:
    """Whether the bucket keeps, or has kept, what is deleted or overwritten; False where it does not tell."""
    try:
        return store.ask("get_bucket_versioning").get("Status") in ("Enabled", "Suspended")
    except StoreError as error:
        if error.problem not in MAYBE_THE_OBJECT and error.code != "NotImplemented":
            raise
        return False

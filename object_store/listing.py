"""What is in the bucket, in the order of the keys."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from os.path import commonprefix
from typing import Any, NamedTuple

from object_store.bucket import Bucket

# As many as S3 tells at once.
_PAGE = 1000


class Listed(NamedTuple):
    """An object; or, where versions are asked for, one of its versions, which may be a note that it was deleted."""

    key: str
    bytes: int
    version: str
    storage_class: str


def objects(
    bucket: Bucket, prefix: str, *, after: str = "", before: str = "", versions: bool = False
) -> Iterator[Listed]:
    """The objects whose keys begin with `prefix` and are greater than `after` and less than `before`, if there is one.

    They may be deleted while they are listed. What comes meanwhile may be among them or not.

    Raises:
        StoreError: they cannot be listed, or not as they must be.

    """
    if versions:
        # Not all stores take a key that does not exist to begin after.
        begin = commonprefix([after, before])  # noqa: RUF071 - of characters it is meant to be
        pages = _pages(bucket, begin if begin.startswith(prefix) else prefix, "", versions=True)
    else:
        pages = _pages(bucket, prefix, after, versions=False)
    page = next(pages, None)
    while page is not None:
        # Not all stores can go on from an object that was deleted meanwhile.
        following = next(pages, None)
        for each in page:
            if before and each.key >= before:
                return
            if each.key > after:
                yield each
        page = following


def _pages(bucket: Bucket, prefix: str, after: str, *, versions: bool) -> Iterator[list[Listed]]:
    last, place = after, (after, "")
    while True:
        if versions:
            marks = {name: value for name, value in zip(("KeyMarker", "VersionIdMarker"), place, strict=True) if value}
            page = bucket.ask("list_object_versions", Prefix=prefix, MaxKeys=_PAGE, **marks)
        else:
            page = bucket.ask("list_objects_v2", Prefix=prefix, MaxKeys=_PAGE, StartAfter=last)
        items = [*page.get("Contents", ()), *page.get("Versions", ())]
        items += [item | {"Size": 0} for item in page.get("DeleteMarkers", ())]
        # Some stores name what was deleted behind all others, and some begin with the key after which they should.
        listed = sorted((_listed(bucket, item, versions=versions) for item in items), key=itemgetter(0))
        listed = [each for each in listed if versions or each.key != last]
        if any(not each.key.startswith(prefix) or each.key < last for each in listed):
            raise bucket.is_no_store("objects are listed that were not asked for, or in no order")
        yield listed
        if not page.get("IsTruncated"):
            return
        came_from, last = place, listed[-1].key if listed else last
        place = (page.get("NextKeyMarker", ""), page.get("NextVersionIdMarker", "")) if versions else (last, "")
        if place == came_from or not place[0]:
            raise bucket.is_no_store("its list does not go on")


def _listed(bucket: Bucket, item: dict[str, Any], *, versions: bool) -> Listed:
    if "Key" not in item or item.get("Size", -1) < 0 or (versions and "VersionId" not in item):
        raise bucket.is_no_store("a list without all that belongs to an object")
    return Listed(item["Key"], item["Size"], item.get("VersionId", ""), item.get("StorageClass", ""))


def folders(bucket: Bucket, prefix: str) -> Iterator[str]:
    """The names that follow `prefix` in keys, up to the next slash; `prefix` is empty or ends in a slash.

    Raises:
        StoreError: they cannot be listed.

    """
    going_on: dict[str, Any] = {}
    while True:
        page = bucket.ask("list_objects_v2", Prefix=prefix, Delimiter="/", **going_on)
        found = [item.get("Prefix") for item in page.get("CommonPrefixes", ())]
        going_on = {"ContinuationToken": page.get("NextContinuationToken")}
        if None in found or (page.get("IsTruncated") and None in going_on.values()):
            raise bucket.is_no_store("a list that does not go on, or of folders without names")
        yield from (name.removeprefix(prefix).removesuffix("/") for name in found)
        if not page.get("IsTruncated"):
            return

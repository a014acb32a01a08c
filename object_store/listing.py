"""What is in the bucket, in the order of the keys."""

from collections.abc import Iterator
from operator import itemgetter
from os.path import commonprefix
from typing import Any, NamedTuple

from object_store.bucket import Bucket

# As many as S3 lists at once.
_PAGE = 1000


class Listed(NamedTuple):
    """An object; or, where versions are asked for, one of its versions, or a note that it was deleted."""

    key: str
    bytes: int
    version: str
    storage_class: str


def objects(
    bucket: Bucket, prefix: str, *, after: str = "", before: str = "", versions: bool = False
) -> Iterator[Listed]:
    """The objects whose keys begin with `prefix`, are greater than `after`, and less than `before` if that is given.

    They may be deleted while they are listed. Objects that are stored meanwhile may be among them or not.
    Raises StoreError if they cannot be listed, or not as they must be.
    """
    if versions:
        # Some stores cannot begin after a key that does not exist.
        begin = commonprefix([after, before])  # noqa: RUF071 - of characters it is meant to be
        pages = _pages(bucket, begin if begin.startswith(prefix) else prefix, "", versions=True)
    else:
        pages = _pages(bucket, prefix, after, versions=False)
    page = next(pages, None)
    while page is not None:
        # Some stores cannot go on from an object that was deleted meanwhile.
        following = next(pages, None)
        for each in page:
            if before and each.key >= before:
                return
            if each.key > after:
                yield each
        page = following


def _pages(bucket: Bucket, prefix: str, after: str, *, versions: bool) -> Iterator[list[Listed]]:
    operation = "list_object_versions" if versions else "list_objects_v2"
    last, marks = after, {} if versions else {"StartAfter": after}
    while True:
        page = bucket.ask(operation, Prefix=prefix, MaxKeys=_PAGE, **marks)
        items = [*page.get("Contents", ()), *page.get("Versions", ())]
        items += [item | {"Size": 0} for item in page.get("DeleteMarkers", ())]
        # Some stores name what was deleted behind all others, and some begin with the key after which they should.
        listed = sorted((_listed(bucket, item, versions=versions) for item in items), key=itemgetter(0))
        listed = [each for each in listed if versions or each.key != last]
        if any(not each.key.startswith(prefix) or each.key < last for each in listed):
            raise bucket.is_no_store("it lists objects that were not asked for, or in no order")
        yield listed
        if not page.get("IsTruncated"):
            return
        last, known = listed[-1].key if listed else last, marks
        next_marks = {"KeyMarker": page.get("NextKeyMarker"), "VersionIdMarker": page.get("NextVersionIdMarker")}
        marks = {name: mark for name, mark in next_marks.items() if mark} if versions else {"StartAfter": last}
        if marks == known or not next(iter(marks.values()), ""):
            raise bucket.is_no_store("its list does not go on")


def _listed(bucket: Bucket, item: dict[str, Any], *, versions: bool) -> Listed:
    if "Key" not in item or item.get("Size", -1) < 0 or (versions and "VersionId" not in item):
        raise bucket.is_no_store("it lists an object without its key, size or version")
    return Listed(item["Key"], item["Size"], item.get("VersionId", ""), item.get("StorageClass", ""))


def folders(bucket: Bucket, prefix: str) -> Iterator[str]:
    """The names that follow `prefix`, which is empty or ends in a slash, in keys up to the next slash."""
    mark: dict[str, Any] = {}
    while True:
        page = bucket.ask("list_objects_v2", Prefix=prefix, Delimiter="/", **mark)
        found = [item.get("Prefix") for item in page.get("CommonPrefixes", ())]
        mark = {"ContinuationToken": page.get("NextContinuationToken")}
        if None in found or (page.get("IsTruncated") and None in mark.values()):
            raise bucket.is_no_store("its list of folders does not go on, or has one without a name")
        yield from (name.removeprefix(prefix).removesuffix("/") for name in found)
        if not page.get("IsTruncated"):
            return

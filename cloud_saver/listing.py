"""What is in the bucket, in the order of the keys."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from operator import itemgetter
from os.path import commonprefix
from typing import NamedTuple

from cloud_saver.store import Store

# As many as S3 tells at once.
_PAGE = 1000
_ITEMS = ("Contents", "Version", "DeleteMarker")


class Listed(NamedTuple):
    """An object; or, where versions are asked for, one of its versions, which may be a note that it was deleted."""

    key: str
    bytes: int
    version: str


def objects(
    store: Store, prefix: str, *, after: str = "", before: str = "", versions: bool = False
) -> Iterator[Listed]:
    """The objects whose keys begin with `prefix` and are greater than `after` and less than `before`, if there is one.

    They may be deleted while they are listed. What comes meanwhile may be among them or not.

    Raises:
        StoreError: they cannot be listed, or not as they must be.

    """
    if versions:
        # Not all stores take a key that does not exist to begin after.
        begin = commonprefix([after, before])  # noqa: RUF071 - of characters it is meant to be
        pages = _pages(store, begin if begin.startswith(prefix) else prefix, "", versions=True)
    else:
        pages = _pages(store, prefix, after, versions=False)
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


def _pages(store: Store, prefix: str, after: str, *, versions: bool) -> Iterator[list[Listed]]:
    last, place = after, (after, "")
    while True:
        if versions:
            query = {"versions": ""}
            query |= {
                name: value for name, value in zip(("key-marker", "version-id-marker"), place, strict=True) if value
            }
        else:
            query = {"list-type": "2", "start-after": last}
        query |= {"prefix": prefix, "max-keys": str(_PAGE)}
        page = read_xml(store, query, "ListVersionsResult" if versions else "ListBucketResult")
        # Some stores name what was deleted behind all others, and some begin with the key after which they should.
        listed = [_listed(store, item) for item in page if item.tag in _ITEMS]
        listed = [each for each in sorted(listed, key=itemgetter(0)) if versions or each.key != last]
        if any(not each.key.startswith(prefix) or each.key < last for each in listed):
            raise store.is_no_store("objects are listed that were not asked for, or in no order")
        yield listed
        if page.findtext("IsTruncated") != "true":
            return
        came_from, last = place, listed[-1].key if listed else last
        place = (last, "")
        if versions:
            place = (_text(store, page, "NextKeyMarker"), page.findtext("NextVersionIdMarker") or "")
        if place == came_from:
            raise store.is_no_store("its list does not go on")


def _listed(store: Store, item: ET.Element) -> Listed:
    size = "0" if item.tag == "DeleteMarker" else _text(store, item, "Size")
    if not size.isdecimal():
        raise store.is_no_store("a list with a Size that is none")
    return Listed(
        _text(store, item, "Key"), int(size), "" if item.tag == "Contents" else _text(store, item, "VersionId")
    )


def folders(store: Store, prefix: str) -> Iterator[str]:
    """The names that follow `prefix` in keys, up to the next slash; `prefix` is empty or ends in a slash.

    Raises:
        StoreError: they cannot be listed.

    """
    query = {"list-type": "2", "prefix": prefix, "delimiter": "/"}
    while True:
        page = read_xml(store, query, "ListBucketResult")
        for item in page.findall("CommonPrefixes"):
            yield _text(store, item, "Prefix").removeprefix(prefix).removesuffix("/")
        if page.findtext("IsTruncated") != "true":
            return
        query["continuation-token"] = _text(store, page, "NextContinuationToken")


def read_xml(store: Store, query: Mapping[str, str], name: str = "", *, doing: str = "list") -> ET.Element:
    """What a GET brings, as an element without namespaces, of this name if there is one.

    Raises:
        StoreError: it brings something else.

    """
    return parsed(store, store.ask("GET", query, doing=doing), name)


def parsed(store: Store, body: bytes, name: str) -> ET.Element:
    """What a store answered, as an element without namespaces, of this name if there is one.

    Raises:
        StoreError: it is something else.

    """
    try:
        text = body.decode()
        if "<!DOCTYPE" in text:
            # It can define entities, by which little text becomes much.
            raise store.is_no_store("its XML is not of S3")
        root = ET.fromstring(text)  # noqa: S314 - see above
    except (ET.ParseError, ValueError, LookupError) as error:
        raise store.is_no_store("no XML, or not all of it") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if name and root.tag != name:
        raise store.is_no_store(f"{root.tag[:60]!r} and no {name}")
    return root


def _text(store: Store, element: ET.Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise store.is_no_store(f"a list without {name}")
    return text

"""How long the store keeps what it was given: rules of the bucket's lifecycle, by which it deletes by itself.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
"""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from collections.abc import Callable

from cloud_saver.erase import has_versions
from cloud_saver.listing import read_xml
from cloud_saver.problems import MAYBE_THE_OBJECT, Problem, StoreError
from cloud_saver.store import Store
from face_messages.backoff import Backoff

log = logging.getLogger(__name__)

# Id of each rule, and the prefix of the keys that it is about.
_RULES = {"facedetection-faces": "faces/", "facedetection-unrecognized": "unrecognized/"}
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def retention_days(store: Store) -> dict[str, int]:
    """The days after which the store deletes what has a key that begins so, as far as the rules of this program say it.

    Raises:
        StoreError: it cannot be read.

    """
    found = {}
    for rule in _lifecycle(store):
        name, prefix = rule.findtext("ID") or "", rule.findtext("Filter/Prefix")
        days = rule.findtext("Expiration/Days") or ""
        if prefix == _RULES.get(name, "") != "" and rule.findtext("Status") == "Enabled" and days.isdecimal():
            found[prefix] = int(days)
    return found


def wanted(days: int) -> dict[str, int]:
    """What `retention_days` should say; `days` of 0 is for ever."""
    return dict.fromkeys(_RULES.values(), days) if days else {}


def set_retention(store: Store, days: int) -> None:
    """Puts the rules there, or with 0 days takes them away; all other rules stay. Then reads them back.

    Raises:
        StoreError: it was not done, or the store has something else now.

    """
    lifecycle = _lifecycle(store)
    for rule in [rule for rule in lifecycle if rule.findtext("ID") in _RULES]:
        lifecycle.remove(rule)
    versions = has_versions(store)
    for name, prefix in _RULES.items() if days else ():
        lifecycle.append(_rule(name, prefix, days, versions=versions))
    doing = "change the lifecycle of"
    if len(lifecycle):
        lifecycle.set("xmlns", _NAMESPACE)
        body = ET.tostring(lifecycle, encoding="utf-8", xml_declaration=True)
        store.ask("PUT", {"lifecycle": ""}, body, doing=doing)
    else:
        store.ask("DELETE", {"lifecycle": ""}, doing=doing)
    if (found := retention_days(store)) != wanted(days):
        text = f"the store took the rules, but has others ({in_words(found)}): it may not support them for prefixes"
        raise StoreError(Problem.REFUSED, text)


def watch(store: Store, days: int, stopped: Callable[[float], bool]) -> None:
    """Says it once if the store has other rules than it should.

    Args:
        store: which may not be there yet.
        days: as for `set_retention`.
        stopped: waits for so many seconds; true when the program ends meanwhile.

    """
    backoff = Backoff(first=1.0, longest=60.0)
    while True:
        try:
            found = retention_days(store)
        except StoreError as error:
            if error.problem in MAYBE_THE_OBJECT:
                log.warning("whether the store deletes after RETENTION_DAYS cannot be told: %s", error)
                return
            if stopped(backoff.next_delay()):
                return
        else:
            if found != wanted(days):
                remedy = "`python -m cloud_saver retention` changes that"
                log.warning("RETENTION_DAYS is %d, but in the bucket %s: %s", days, in_words(found), remedy)
            return


def in_words(found: dict[str, int]) -> str:
    """What `retention_days` found, for people."""
    rules = [f"{prefix} is deleted after {days} days" for prefix, days in sorted(found.items())]
    return ", ".join(rules) or "no rule of this program deletes anything"


def _lifecycle(store: Store) -> ET.Element:
    try:
        lifecycle = read_xml(store, {"lifecycle": ""}, doing="read the lifecycle of")
    except StoreError as error:
        if error.code != "NoSuchLifecycleConfiguration":
            raise
        return ET.Element("LifecycleConfiguration")
    if lifecycle.tag != "LifecycleConfiguration":
        text = (
            f"the store has no lifecycle, but {lifecycle.tag[:60]!r}: set RETENTION_DAYS=0, and delete by other means"
        )
        raise StoreError(Problem.REFUSED, text)
    return lifecycle


def _rule(name: str, prefix: str, days: int, *, versions: bool) -> ET.Element:
    rule = ET.Element("Rule")
    ET.SubElement(rule, "ID").text = name
    ET.SubElement(rule, "Status").text = "Enabled"
    ET.SubElement(ET.SubElement(rule, "Filter"), "Prefix").text = prefix
    ET.SubElement(ET.SubElement(rule, "Expiration"), "Days").text = str(days)
    if versions:
        # There it only makes an older version of the object, which would stay for ever.
        ET.SubElement(ET.SubElement(rule, "NoncurrentVersionExpiration"), "NoncurrentDays").text = "1"
    return rule

"""How long the store keeps what it was given: rules of the bucket's lifecycle, by which it deletes by itself.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cloud_saver.erase import has_versions
from face_messages.service.backoff import Backoff
from object_store.bucket import Bucket
from object_store.errors import MAYBE_THE_OBJECT, Problem, StoreError

log = logging.getLogger(__name__)

# Id of each rule, and the prefix of the keys that it is about.
_RULES = {"facedetection-faces": "faces/", "facedetection-unrecognized": "unrecognized/"}


def retention_days(store: Bucket) -> dict[str, int]:
    """The days after which the store deletes what has a key that begins so, as far as the rules of this program say it.

    Raises:
        StoreError: it cannot be read.

    """
    found = {}
    for rule in _lifecycle(store).get("Rules", ()):
        prefix, days = rule.get("Filter", {}).get("Prefix"), rule.get("Expiration", {}).get("Days")
        if prefix and prefix == _RULES.get(rule.get("ID", "")) and rule.get("Status") == "Enabled" and days:
            found[prefix] = days
    return found


def wanted(days: int) -> dict[str, int]:
    """What `retention_days` should say; `days` of 0 is for ever."""
    return dict.fromkeys(_RULES.values(), days) if days else {}


def set_retention(store: Bucket, days: int) -> None:
    """Puts the rules there, or with 0 days takes them away; all other rules stay. Then reads them back.

    Raises:
        StoreError: it was not done, or the store has something else now.

    """
    lifecycle = _lifecycle(store)
    if unknown := lifecycle.get("Unknown"):
        text = f"the bucket's lifecycle has rules that would get lost ({', '.join(unknown)}): change it by hand"
        raise StoreError(Problem.REFUSED, text)
    rules = [rule for rule in lifecycle.get("Rules", ()) if rule.get("ID") not in _RULES]
    versions = has_versions(store)
    rules += [_rule(name, prefix, days, versions=versions) for name, prefix in _RULES.items() if days]
    if rules:
        store.ask("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": rules})
    else:
        store.ask("delete_bucket_lifecycle")
    if (found := retention_days(store)) != wanted(days):
        text = f"the store took the rules, but has others ({in_words(found)}): it may not support them for prefixes"
        raise StoreError(Problem.REFUSED, text)


def watch(store: Bucket, days: int, stopped: Callable[[float], bool]) -> None:
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


def _lifecycle(store: Bucket) -> dict[str, Any]:
    try:
        told = store.ask("get_bucket_lifecycle_configuration")
    except StoreError as error:
        if error.code != "NoSuchLifecycleConfiguration":
            raise
        return {}
    if (root := told["Root"]) != "LifecycleConfiguration":
        text = f"the store has no lifecycle, but {root!r}: set RETENTION_DAYS=0, and delete by other means"
        raise StoreError(Problem.REFUSED, text)
    return told


def _rule(name: str, prefix: str, days: int, *, versions: bool) -> dict[str, Any]:
    rule = {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": days}}
    # There it only makes an older version of the object, which would stay for ever.
    return rule | ({"NoncurrentVersionExpiration": {"NoncurrentDays": 1}} if versions else {})

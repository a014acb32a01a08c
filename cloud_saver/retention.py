"""How long the store keeps faces: rules of the bucket's lifecycle, by which the store deletes by itself.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
"""

import logging
from collections.abc import Callable
from typing import Any

from cloud_saver.erase import has_versions
from face_messages.service.backoff import Backoff
from object_store.bucket import Bucket
from object_store.errors import MAYBE_THE_OBJECT, Problem, StoreError

log = logging.getLogger(__name__)

# Id of each rule, and the prefix of the keys that it deletes.
_RULES = {"facedetection-faces": "faces/", "facedetection-unrecognized": "unrecognized/"}


def retention_days(store: Bucket) -> dict[str, int]:
    """The days after which the store deletes, by prefix, as far as this program's rules say it."""
    found = {}
    for rule in _lifecycle(store).get("Rules", ()):
        prefix, days = rule.get("Filter", {}).get("Prefix"), rule.get("Expiration", {}).get("Days")
        if prefix and prefix == _RULES.get(rule.get("ID", "")) and rule.get("Status") == "Enabled" and days:
            found[prefix] = days
    return found


def wanted(days: int) -> dict[str, int]:
    """What `retention_days` should return; 0 `days` is for ever."""
    return dict.fromkeys(_RULES.values(), days) if days else {}


def set_retention(store: Bucket, days: int) -> None:
    """Sets the rules, or removes them if `days` is 0. All other rules stay.

    Raises StoreError if it was not done, or the store has other rules when they are read back.
    """
    lifecycle = _lifecycle(store)
    if unknown := lifecycle.get("Unknown"):
        text = f"the bucket's lifecycle has rules that would get lost ({', '.join(unknown)}): change it by hand"
        raise StoreError(Problem.REFUSED, text)
    rules = [rule for rule in lifecycle.get("Rules", ()) if rule.get("ID") not in _RULES]
    if days:
        # With versions, an expiration only makes an older version of the object, which would stay for ever.
        more = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}} if has_versions(store) else {}
        rule = {"Status": "Enabled", "Expiration": {"Days": days}, **more}
        rules += [{"ID": name, "Filter": {"Prefix": prefix}, **rule} for name, prefix in _RULES.items()]
    if rules:
        store.ask("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": rules})
    else:
        store.ask("delete_bucket_lifecycle")
    if (found := retention_days(store)) != wanted(days):
        text = f"the store took the rules, but has others ({in_words(found)}): it may not support them for prefixes"
        raise StoreError(Problem.REFUSED, text)


def watch(store: Bucket, days: int, stopped: Callable[[float], bool]) -> None:
    """Says once if the store has other rules than it should. The store may come later.

    `stopped` waits this many seconds, and is true when the program ends meanwhile.
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
    """What `retention_days` returned, for people."""
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

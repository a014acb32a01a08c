"""A bucket whose objects are read, and linked to, as the gallery does."""

import contextlib
import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from face_messages.message import MAX_MESSAGE_BYTES
from object_store.bucket import Bucket
from object_store.client import NoObjectError
from object_store.errors import MAYBE_THE_OBJECT, ObjectError, Problem, StoreError
from object_store.tokens import Tokens

#: Storage classes whose objects must be restored before they can be read.
ARCHIVES = ("GLACIER", "DEEP_ARCHIVE", "ACCELERATED")

# Hosts that browsers elsewhere do not find: without a domain, or in networks of a provider's own.
_PRIVATE = re.compile(r"(?!localhost$)[^.:]+|.*\.(internal|local|svc|lan)|s3\.(private|direct)\..*")


class ReadObject(NamedTuple):
    """An object as it was read. `body` is empty where only its head was asked for.

    `archived` tells that a GET would raise ObjectArchivedError, and a link to it would not work.
    """

    body: bytes
    bytes: int
    metadata: dict[str, str]
    storage_class: str = ""
    archived: bool = False


class ReadableBucket(Bucket):
    """A bucket for those who read as well. Safe to use from many threads."""

    _readable = ""  # the key of an object that could be read

    def read(self, key: str, *, only_head: bool = False) -> ReadObject | None:
        """An object, of its body as much as a message may have; None where there is none.

        ObjectArchivedError: the object lies in an archive. ObjectError: this object cannot be read for another reason;
        others can. StoreError: it cannot be told.
        """
        try:
            told = self.ask("head_object" if only_head else "get_object", Key=key)
        except NoObjectError:
            return None
        except StoreError as error:
            if error.problem is Problem.UNREACHABLE and not only_head and self._has_head(key):
                raise ObjectError(f"this object cannot be read whole, though the store is well: {error}") from error
            if error.problem not in MAYBE_THE_OBJECT:
                raise
            if only_head:
                return self.read(key)  # only the answer to a GET tells why
            if self._can_read_another(key):
                raise ObjectError(f"this object cannot be read, though others can: {error}", code=error.code) from error
            raise
        self._readable = key
        body = b"" if only_head else told["Body"].read(MAX_MESSAGE_BYTES)
        metadata = {name.lower(): value for name, value in told.get("Metadata", {}).items()}
        storage_class, restored = told.get("StorageClass", ""), 'ongoing-request="false"' in told.get("Restore", "")
        archived = (storage_class in ARCHIVES or bool(told.get("ArchiveStatus"))) and not restored
        return ReadObject(body, told.get("ContentLength", 0), metadata, storage_class, archived)

    def link(self, key: str, *, seconds: int) -> str | None:
        """A URL by which anybody can read the object for this long; None with IAM, or a private endpoint."""
        endpoint = self._settings.cos_public_endpoint or self._settings.cos_endpoint
        if not self._settings.cos_public_endpoint and _PRIVATE.fullmatch(urlsplit(endpoint).hostname or ""):
            return None
        if not (self._answered or self._settings.cos_region or isinstance(self._credentials, Tokens)):
            with contextlib.suppress(StoreError):  # the store may name its region
                self.ask("list_objects_v2", MaxKeys=1)
        return self._credentials.link(f"{self._base(endpoint)}/{quote(key)}", seconds=seconds)

    def _has_head(self, key: str) -> bool:
        return self._ask("HEAD", "/" + quote(key), {}).status == 200

    def _can_read_another(self, key: str) -> bool:
        keys = [self._readable]
        if not self._readable:
            keys = [each.get("Key", "") for each in self.ask("list_objects_v2", MaxKeys=5).get("Contents", ())]
        return any(each and each != key and self._has_head(each) for each in keys)

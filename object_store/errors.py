"""What can be wrong with a store, in words that say what to do."""

from __future__ import annotations

import re
import ssl
from enum import Enum

from object_store.connections import Answer, KeptConnectionClosedError, in_words

_CODE, _TOLD_REGION = (re.compile(rf"<{name}>\s*([\w-]{{1,64}})\s*</{name}>".encode()) for name in ("Code", "Region"))
_OF_REGIONS = (
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
)


class Problem(Enum):
    """Kinds of trouble with a store; each wants another remedy."""

    UNREACHABLE = "the store cannot be reached"
    SILENT = "the store does not answer"
    FAILING = "the store has trouble of its own"
    DENIED = "the store denies access"
    NO_BUCKET = "the bucket does not exist"
    ELSEWHERE = "the bucket is in another region"
    CLOCK = "this machine's clock is wrong"
    REFUSED = "the store refuses the object"
    OBJECT = "one object cannot be read, and the store is well"


#: What may be wrong with one object, its size or its name, as well as with all of them.
MAYBE_THE_OBJECT = (Problem.REFUSED, Problem.DENIED)


class StoreError(Exception):
    """The object is not stored, or whatever else was asked for not done. The text tells why, and what to do about it.

    `code` is the store's own name for it, where it gave one.
    """

    def __init__(self, problem: Problem, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.problem = problem
        self.code = code


class ObjectError(StoreError):
    """One object cannot be read. The store is well, and health must not change."""

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(Problem.OBJECT, text, code=code)


class ObjectArchivedError(ObjectError):
    """The object lies in an archive: it must be restored there before it can be read."""


class ClosedMeanwhileError(StoreError):
    """A store may end idle connections at any moment, that of a request included; whether it has it, who knows."""


class Errors:
    """Those of one bucket.

    Args:
        bucket: its name.
        url: of the store.

    """

    def __init__(self, bucket: str, url: str) -> None:
        self._bucket = bucket
        self._url = url

    def is_no_store(self, why: str) -> StoreError:
        """The error for an answer that makes no sense."""
        text = f"COS_ENDPOINT {self._url} answers, but not as an object store does ({why}): is it right?"
        return StoreError(Problem.UNREACHABLE, text)

    def of_trouble(self, error: OSError) -> StoreError:
        """For a request that got no answer."""
        if isinstance(error, TimeoutError):
            return StoreError(Problem.SILENT, f"COS_ENDPOINT {self._url} does not answer in time")
        if isinstance(error, ssl.SSLCertVerificationError):
            text = (
                f"COS_ENDPOINT {self._url} shows a certificate that is not to be trusted ({error.verify_message}):"
                " is it right? AWS_CA_BUNDLE may name a PEM file with its CA"
            )
            return StoreError(Problem.UNREACHABLE, text)
        text = f"COS_ENDPOINT {self._url} cannot be used ({in_words(error)}): is it right, and is it up?"
        kind = ClosedMeanwhileError if isinstance(error, KeptConnectionClosedError) else StoreError
        return kind(Problem.UNREACHABLE, text)

    def of_refusal(self, answer: Answer, *, doing: str) -> StoreError:
        """For an answer that is no yes; `doing` is what was to be done to the bucket, such as `read`."""
        code, region = (
            found[1].decode("ascii", "replace") if (found := name.search(answer.body)) else ""
            for name in (_CODE, _TOLD_REGION)
        )
        status, told = answer.status, f"HTTP {answer.status} {code}".strip()
        region = region or re.sub(r"[^\w-]", "", answer.headers.get("x-amz-bucket-region", ""))[:64]
        if code in _OF_REGIONS or (status < 400 and region):
            text = f"COS_BUCKET {self._bucket} is not to be had at {self._url} ({told})"
            where = f", which is {region}" if region else ""
            text = f"{text}: COS_ENDPOINT must be that of the bucket's own region{where}"
            return StoreError(Problem.ELSEWHERE, text, code=code)
        if status < 400:
            # Some network's login page, say, is not for the store to tell of.
            return self.is_no_store(told)
        if code == "NoSuchBucket" or (status == 404 and code in ("", "NotFound", "NoSuchKey")):
            text = f"COS_BUCKET {self._bucket} does not exist at {self._url} ({told}): create it, or name another"
            return StoreError(Problem.NO_BUCKET, text, code=code)
        if code == "RequestTimeTooSkewed":
            text = f"COS_ENDPOINT {self._url} has another time than this machine ({told}): set this machine's clock"
            return StoreError(Problem.CLOCK, text, code=code)
        if code == "InvalidObjectState":
            return ObjectArchivedError(
                f"the object lies in an archive ({told}): restore it there to read it", code=code
            )
        if status in (401, 403):
            # The clock is part of every signature.
            remedy = "check them, their rights and this machine's clock"
            text = f"the credentials may not {doing} COS_BUCKET {self._bucket} ({told}): {remedy}"
            return StoreError(Problem.DENIED, text, code=code)
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
            return StoreError(Problem.FAILING, f"COS_ENDPOINT {self._url} has trouble of its own ({told})")
        what = "the object" if doing == "write to" else f"to {doing} COS_BUCKET {self._bucket}"
        return StoreError(Problem.REFUSED, f"COS_ENDPOINT {self._url} refuses {what} ({told})", code=code)

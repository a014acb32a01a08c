"""What can be wrong with a store, in words that say what to do."""

import re
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

from object_store.answers import Answer
from object_store.connection import KeptConnectionClosedError
from object_store.connections import in_words

_CODE = re.compile(rb"<Code>\s*([\w.-]{1,64})\s*</Code>")
_REGION = re.compile(rb"<Region>\s*([\w.-]{1,64})\s*</Region>|expecting '([\w.-]{1,64})'")
_OF_REGIONS = (
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
)
_OF_ADDRESSING = ("PathStyleDomainForbidden", "SecondLevelDomainForbidden")
_OF_TOKENS = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_OF_KEYS = re.compile(r"KMS\.|Kms|KeyDisabled|KeyNotFound")
# A clock that is wrong by less does no harm.
_CLOCK_SECONDS = 60


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
    """It was not done. The text tells why, and what to do; `code` is the store's own name for it, if it gave one."""

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


class AskAgainError(StoreError):
    """The request is to be made again, at once: the store closed a kept connection, or wants another signature.

    It may have served the request or not.
    """


class Errors:
    """Makes the errors of one bucket, at the store with this URL."""

    def __init__(self, bucket: str, url: str) -> None:
        self._bucket = bucket
        self._url = url

    def is_no_store(self, why: str) -> StoreError:
        """The error for an answer that makes no sense."""
        text = f"COS_ENDPOINT {self._url} answers, but not as an object store does ({why}): is it right?"
        return StoreError(Problem.UNREACHABLE, text)

    def holds_the_bucket(self, why: str, *, code: str = "") -> StoreError:
        """The error for a list that does not show what lies under the endpoint."""
        text = f"COS_ENDPOINT {self._url} seems to hold COS_BUCKET {self._bucket} already ({why}): leave the bucket out"
        return StoreError(Problem.UNREACHABLE, f"{text} of it; COS_ADDRESSING=virtual puts it into the host", code=code)

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
        kind = AskAgainError if isinstance(error, KeptConnectionClosedError) else StoreError
        return kind(Problem.UNREACHABLE, text)

    def of_answer(self, answer: Answer, *, doing: str) -> StoreError:
        """For an answer that is no yes. `doing` is what was to be done to the bucket, such as `read`."""
        bucket, url, status = f"COS_BUCKET {self._bucket}", f"COS_ENDPOINT {self._url}", answer.status
        code = found[1].decode() if (found := _CODE.search(answer.body)) else ""
        told = f"HTTP {status} {code}".strip()

        def error(problem: Problem, text: str) -> StoreError:
            return StoreError(problem, text, code=code)

        region = region_in(answer) or re.sub(r"[^\w-]", "", answer.headers.get("x-amz-bucket-region", ""))[:64]
        if code in _OF_REGIONS or (status < 400 and region):
            where = f", which is {region}: COS_REGION must be that or empty" if region else ""
            text = f"{bucket} is not to be had at {self._url} ({told})"
            return error(Problem.ELSEWHERE, f"{text}: COS_ENDPOINT must be that of the bucket's own region{where}")
        if status < 400:
            # Such as the login page of some network.
            return self.is_no_store(told)
        if code in _OF_ADDRESSING:
            return error(
                Problem.UNREACHABLE, f"{url} wants the bucket in its host ({told}): set COS_ADDRESSING=virtual"
            )
        if code == "NoSuchKey" and doing == "list":
            return self.holds_the_bucket(told, code=code)
        if code == "NoSuchBucket" or (status == 404 and code in ("", "NotFound", "NoSuchKey")):
            return error(
                Problem.NO_BUCKET, f"{bucket} does not exist at {self._url} ({told}): create it, or name another"
            )
        clock = _clock(answer)
        if code == "RequestTimeTooSkewed":
            text = f"{url} has another time than this machine ({told}{clock}): set this machine's clock"
            return error(Problem.CLOCK, text)
        if code == "InvalidObjectState":
            return ObjectArchivedError(f"the object is in an archive ({told}): restore it there to read it", code=code)
        if doing == "read" and _OF_KEYS.search(code):
            text = f"the object's encryption key cannot be used ({told}): enable the key to read it"
            return ObjectError(text, code=code)
        if status in (401, 403) or code in _OF_TOKENS:
            # The clock is part of every signature.
            remedy = "check them, their rights and this machine's clock"
            return error(Problem.DENIED, f"the credentials may not {doing} {bucket} ({told}{clock}): {remedy}")
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
            return error(Problem.FAILING, f"{url} has trouble of its own ({told})")
        what = "the object" if doing == "write to" else f"to {doing} {bucket}"
        return error(Problem.REFUSED, f"{url} refuses {what} ({told})")


def region_in(answer: Answer) -> str:
    """The region that an answer names; empty where it names none."""
    found = _REGION.search(answer.body)
    region = (found[1] or found[2]).decode() if found else answer.headers.get("x-amz-bucket-region", "")
    return region if re.fullmatch(r"[\w.-]{1,64}", region) else ""


def _clock(answer: Answer) -> str:
    """How wrong this machine's clock is by the store's, in words behind a comma; empty where it is not."""
    try:
        seconds = (datetime.now(UTC) - parsedate_to_datetime(answer.headers.get("date", ""))).total_seconds()
    except (ValueError, TypeError):
        return ""
    if abs(seconds) < _CLOCK_SECONDS:
        return ""
    return f", this machine is {timedelta(seconds=round(abs(seconds)))} {'ahead' if seconds > 0 else 'behind'}"

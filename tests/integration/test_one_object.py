"""One object that cannot be read is not the store's trouble."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable

import pytest

from object_store.errors import ObjectArchivedError, ObjectError, Problem, StoreError
from object_store.listing import objects
from object_store.readable import ReadableBucket
from tests.support.fake_http import Answer, FakeHttp, Request
from tests.support.stores import FACE, running_moto, sdk, store_at

BAD = FACE.key
GOOD = FACE.key.replace("0190-abc", "0190-abd")


def error_of(store: ReadableBucket, key: str, *, only_head: bool = False) -> StoreError:
    with pytest.raises(StoreError) as caught:
        store.read(key, only_head=only_head)
    return caught.value


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_is_told_as_archived(storage_class: str) -> None:
    """Its head can be read and shows it, as lists do; its content cannot."""
    with running_moto() as endpoint:
        store = store_at(endpoint)
        sdk(endpoint).put_object(Bucket="faces", Key=BAD, Body=b"x", StorageClass=storage_class)
        store.put(FACE.__class__(GOOD, b"y", "image/png", {}, None))
        error = error_of(store, BAD)
        assert isinstance(error, ObjectArchivedError)
        assert error.problem is Problem.OBJECT
        assert "archive" in str(error)
        assert "restore it" in str(error)
        assert "credentials" not in str(error)
        found = store.read(BAD, only_head=True)
        assert found is not None
        assert found.archived
        good = store.read(GOOD)
        assert good is not None
        assert not good.archived
        classes = {each.key: each.storage_class for each in objects(store, "faces/")}
        assert classes == {BAD: storage_class, GOOD: "STANDARD"}


def test_a_restored_object_is_as_any_other() -> None:
    """For as long as it is restored."""
    headers = {"x-amz-storage-class": "GLACIER", "x-amz-restore": 'ongoing-request="false", expiry-date="x"'}
    with FakeHttp(lambda _request: Answer(200, b"x", headers)) as fake:
        found = store_at(fake.url).read(BAD, only_head=True)
        assert found is not None
        assert not found.archived
    headers["x-amz-restore"] = 'ongoing-request="true"'
    with FakeHttp(lambda _request: Answer(200, b"x", headers)) as fake:
        found = store_at(fake.url).read(BAD, only_head=True)
        assert found is not None
        assert found.archived


def refusing(status: int, code: str, *, all_of_them: bool = False) -> Callable[[Request], Answer]:
    """A store that does not give one object, or none."""

    def answer(request: Request) -> Answer:
        if "list-type" in request.path:
            listed = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in (BAD, GOOD))
            return Answer(200, f"<ListBucketResult><Name>faces</Name>{listed}</ListBucketResult>".encode())
        if all_of_them or urllib.parse.unquote(request.path).endswith(BAD):
            return Answer(status, f"<Error><Code>{code}</Code></Error>".encode() if code else b"")
        return Answer(200, b"x", {"ETag": '"0"'})

    return answer


CODES = [
    (403, "InvalidObjectState", ObjectArchivedError),
    (400, "KMS.DisabledException", ObjectError),
    (403, "KMS.DisabledException", ObjectError),
    (400, "KMS.NotFoundException", ObjectError),
    (400, "KMSInvalidStateException", ObjectError),
    (403, "AccessDenied", ObjectError),
    (400, "InvalidRequest", ObjectError),
    (403, "", ObjectError),
]


@pytest.mark.parametrize(("status", "code", "kind"), CODES)
@pytest.mark.parametrize("only_head", [False, True])
@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_what_is_wrong_with_one_object_is_said_of_it_alone(
    status: int, code: str, kind: type[StoreError], only_head: bool, known: bool
) -> None:
    """Whether or not another was read before; a HEAD, whose answer tells no code, is asked again as a GET."""
    with FakeHttp(refusing(status, code)) as fake:
        store = store_at(fake.url)
        if known:
            store.read(GOOD)
        error = error_of(store, BAD, only_head=only_head)
        assert type(error) is kind
        assert error.problem is Problem.OBJECT
        assert code in str(error)
        assert store.read(GOOD) is not None


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_credentials_that_may_read_nothing_are_told_as_such(known: bool) -> None:
    """It is no object's fault then."""
    with FakeHttp(refusing(403, "AccessDenied")) as fake:
        store = store_at(fake.url)
        if known:
            store.read(GOOD)
        fake.answer = refusing(403, "AccessDenied", all_of_them=True)
        error = error_of(store, BAD)
        assert error.problem is Problem.DENIED
        assert "the credentials may not read COS_BUCKET faces" in str(error)

"""Stores to write to, an object for them, and the SDK as a second opinion."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

import ibm_boto3
import ibm_botocore.session
import pytest
from ibm_botocore.config import Config

from cloud_saver.settings import SaverSettings
from dev.stack.s3 import S3Server
from face_messages import FaceEvent
from object_store.errors import StoreError
from object_store.keys import StoredObject, object_for
from object_store.readable import ReadableBucket
from tests.support.waiting import eventually

# What the SDK knows of S3 is a megabyte of JSON, which each new session would parse again. In this process one does.
ibm_botocore.session.create_loader = cache(ibm_botocore.session.create_loader)

SECRET = "hush-secret-access-key"
FACE = object_for(
    FaceEvent(
        "0190-abc", "tx2", "cam0", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), 7, (640, 480), (1, 2, 3, 4), 0.9
    ).to_message("t", b"\x89PNG\r\n\x1a\n..."),
    received_at=datetime.now(UTC),
)


def store_at(endpoint: str, *, bucket: str = "faces", keys: tuple[str, str] = ("access-key", SECRET)) -> ReadableBucket:
    return ReadableBucket(
        SaverSettings(
            mqtt_url="mqtt://unused",
            cos_endpoint=endpoint,
            cos_bucket=bucket,
            cos_hmac_access_key_id=keys[0],
            cos_hmac_secret_access_key=keys[1],
        )
    )


def iam_store(endpoint: str, auth: str) -> ReadableBucket:
    return ReadableBucket(
        SaverSettings(
            mqtt_url="mqtt://unused",
            cos_endpoint=endpoint,
            cos_bucket="faces",
            cos_api_key_id="hush-api-key",
            cos_instance_crn="crn:v1:instance",
            cos_auth_endpoint=f"{auth}/identity/token",
        )
    )


def real_store(s3: S3Server, **options: str) -> ReadableBucket:
    return store_at(s3.endpoint, keys=(s3.access_key_id, s3.secret_access_key), **options)


def sdk(endpoint: str, access_key_id: str = "access-key", secret_access_key: str = SECRET) -> Any:
    """IBM's own client, for a second opinion."""
    return ibm_boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
        ),
    )


@cache
def _moto() -> str:
    """The endpoint of this process' one server: to end one takes half a second."""
    from moto.server import ThreadedMotoServer  # takes half a second, which most tests can do without

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextmanager
def running_moto() -> Iterator[str]:
    """S3 as AWS defines it, with nothing in it but an empty bucket `faces`; the endpoint."""
    endpoint = _moto()
    urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"").close()
    sdk(endpoint).create_bucket(Bucket="faces")
    yield endpoint


def here(*ends: str) -> Callable[..., Any]:
    """In place of `socket.getaddrinfo`: hosts whose names end so are this machine."""
    resolve = socket.getaddrinfo

    def find(host: Any, *args: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(ends) else host, *args, **options)

    return find


def environment(endpoint: str, access_key_id: str = "access-key", secret_access_key: str = SECRET) -> dict[str, str]:
    """The settings of a bucket `faces` there, as environment variables."""
    return {
        "COS_ENDPOINT": endpoint,
        "COS_BUCKET": "faces",
        "COS_HMAC_ACCESS_KEY_ID": access_key_id,
        "COS_HMAC_SECRET_ACCESS_KEY": secret_access_key,
    }


def refusal(store: ReadableBucket, stored_object: StoredObject = FACE) -> StoreError:
    with pytest.raises(StoreError) as caught:
        store.put(stored_object)
    assert "hush" not in str(caught.value)
    return caught.value


def wait_for_the_end(store: ReadableBucket) -> None:
    """Until the end that the server made of a kept connection has arrived here."""
    (kept,) = store._server.idle
    eventually(lambda: kept.over)

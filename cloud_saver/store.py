"""The bucket, through `ibm_boto3`: one client for all threads, and errors that say what to do."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ibm_boto3
from ibm_botocore import exceptions as boto
from ibm_botocore.config import Config
from ibm_botocore.handlers import add_expect_header

from cloud_saver.iam import Tokens
from cloud_saver.keys import StoredObject
from cloud_saver.problems import Problem, StoreError
from cloud_saver.settings import SaverSettings

_CONNECT_SECONDS = 10
_READ_SECONDS = 30


class Store:
    """Writes objects to one bucket, and nothing anywhere else. Safe to use from many threads.

    It does not retry: that is done in one place, by whoever holds the message.
    """

    def __init__(self, settings: SaverSettings) -> None:
        self._bucket = settings.cos_bucket
        self._endpoint = settings.cos_endpoint
        config = {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "max_pool_connections": settings.saver_workers,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            # The default, a checksum in a trailer, is refused by some stores; Content-MD5 below does its work.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path"},
        }
        if settings.cos_api_key_id is not None:
            self._client = ibm_boto3.client(
                "s3",
                endpoint_url=settings.cos_endpoint,
                token_manager=Tokens(
                    api_key=settings.cos_api_key_id.get_secret_value(), endpoint=settings.cos_auth_endpoint
                ),
                ibm_service_instance_id=settings.cos_instance_crn,
                config=Config(signature_version="oauth", **config),
            )
        else:
            assert settings.cos_hmac_access_key_id is not None
            assert settings.cos_hmac_secret_access_key is not None
            self._client = ibm_boto3.client(
                "s3",
                endpoint_url=settings.cos_endpoint,
                aws_access_key_id=settings.cos_hmac_access_key_id.get_secret_value(),
                aws_secret_access_key=settings.cos_hmac_secret_access_key.get_secret_value(),
                region_name="us-east-1",  # stores other than AWS accept any, and the SDK wants one
                config=Config(signature_version="s3v4", **config),
            )
        self._client.meta.events.register("before-call.s3", _no_redirects)
        # With `Expect: 100-continue` the SDK takes the answer to an empty object for that of the next one as well.
        self._client.meta.events.unregister("before-call.s3", add_expect_header)

    def put(self, stored: StoredObject) -> None:
        """Writes one object; when it returns, the store has it.

        Raises:
            StoreError: the store did not say that it has it.

        """
        with self._explained():
            answer = self._client.put_object(
                Bucket=self._bucket,
                Key=stored.key,
                Body=stored.body,
                ContentType=stored.content_type,
                ContentMD5=base64.b64encode(_md5(stored.body).digest()).decode(),
                Metadata=stored.metadata,
            )
        if not answer.get("ETag"):
            # A login page of some network, say, answers 200 to anything.
            text = f"COS_ENDPOINT {self._endpoint} answers, but not as an object store does (no ETag): is it right?"
            raise StoreError(Problem.UNREACHABLE, text)

    def has(self, stored: StoredObject) -> bool:
        """Whether the store has this very object already; False where it cannot be told.

        Raises:
            StoreError: the store is not well.

        """
        with self._explained():
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=stored.key)
            except boto.ClientError as error:
                # Not there, or not for these credentials to see: a PUT will tell what is the matter.
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500:
                    return False
                raise
        # An ETag is the MD5 of the content wherever an object was written in one piece and not encrypted with a key
        # of the customer's; elsewhere the object is written again, which does no harm.
        return str(answer.get("ETag", "")).strip('"') == _md5(stored.body).hexdigest()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except boto.ClientError as error:
            raise self._explain(error) from error
        except (boto.ReadTimeoutError, boto.ConnectTimeoutError) as error:
            raise StoreError(Problem.SILENT, f"COS_ENDPOINT {self._endpoint} does not answer in time") from error
        except (boto.BotoCoreError, OSError) as error:
            text = f"COS_ENDPOINT {self._endpoint} cannot be used ({type(error).__name__}): is it right, and is it up?"
            raise StoreError(Problem.UNREACHABLE, text) from error

    def _explain(self, error: boto.ClientError) -> StoreError:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", "")
        answer = f"HTTP {status} {code}"
        if code == "NoSuchBucket" or (status == 404 and code in ("404", "NotFound", "NoSuchKey")):
            text = (
                f"COS_BUCKET {self._bucket} does not exist at {self._endpoint} ({answer}): create it, or name another"
            )
            return StoreError(Problem.NO_BUCKET, text)
        if status in (401, 403):
            text = f"the credentials may not write to COS_BUCKET {self._bucket} ({answer}): check them and their rights"
            return StoreError(Problem.DENIED, text)
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
            return StoreError(Problem.FAILING, f"COS_ENDPOINT {self._endpoint} has trouble of its own ({answer})")
        return StoreError(Problem.REFUSED, f"COS_ENDPOINT {self._endpoint} refuses the object ({answer})")


def _md5(body: bytes) -> hashlib._Hash:
    return hashlib.md5(body, usedforsecurity=False)


def _no_redirects(context: dict[str, Any], **_: object) -> None:
    # The SDK would ask where the bucket is, be redirected again, and so on until Python's stack ends. The flag says
    # that it was redirected once, so a redirect is an error like others.
    context["s3_redirect"]["redirected"] = True

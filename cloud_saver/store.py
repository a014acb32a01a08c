"""The bucket, through `ibm_boto3`: one client for all threads, and errors that say what to do."""

from __future__ import annotations

import base64
import hashlib
import logging
from enum import Enum

import ibm_boto3
from ibm_botocore import exceptions as boto
from ibm_botocore.config import Config

from cloud_saver.keys import StoredObject
from cloud_saver.settings import SaverSettings

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 10
_READ_SECONDS = 30


class Problem(Enum):
    """Kinds of trouble with a store; each wants another remedy."""

    UNREACHABLE = "the store cannot be reached"
    SILENT = "the store does not answer"
    FAILING = "the store has trouble of its own"
    DENIED = "the store denies access"
    NO_BUCKET = "the bucket does not exist"
    REFUSED = "the store refuses the object"


class StoreError(Exception):
    """The object is not stored. The text tells what is wrong and what to do about it."""

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem


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
                ibm_api_key_id=settings.cos_api_key_id.get_secret_value(),
                ibm_service_instance_id=settings.cos_instance_crn,
                ibm_auth_endpoint=settings.cos_auth_endpoint,
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

    def put(self, stored: StoredObject) -> None:
        """Writes one object; when it returns, the store has it.

        Raises:
            StoreError: the store did not say that it has it.

        """
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=stored.key,
                Body=stored.body,
                ContentType=stored.content_type,
                ContentMD5=base64.b64encode(hashlib.md5(stored.body, usedforsecurity=False).digest()).decode(),
                Metadata=stored.metadata,
            )
        except boto.ClientError as error:
            raise self._explain(error) from error
        except (boto.ReadTimeoutError, boto.ConnectTimeoutError) as error:
            raise StoreError(Problem.SILENT, f"COS_ENDPOINT {self._endpoint} does not answer in time") from error
        except boto.CredentialRetrievalError as error:
            text = "no token for COS_API_KEY_ID could be had: check the key and COS_AUTH_ENDPOINT"
            raise StoreError(Problem.DENIED, text) from error
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

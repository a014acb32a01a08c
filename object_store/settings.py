"""Where the bucket is, and who may use it: settings of saver and gallery."""

import re
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from face_messages.service.settings import ProgramSettings

# No underscore in the host, which S3 clients refuse. A user name in it would end up in the log.
_HOST = (
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]"
)
_ENDPOINT = re.compile(rf"https?://({_HOST})(:(?P<port>\d{{1,5}}))?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_ADDRESS = re.compile(r"[\d.]+|.*:.*")


def _check_endpoint(text: str) -> str:
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 443) < 65536:
        raise ValueError(
            "must be a URL such as https://s3.eu-de.cloud-object-storage.appdomain.cloud,"
            " without a user, a query and a fragment, and without an underscore in the host"
        )
    return text


def _check_bucket(text: str) -> str:
    # AWS and IBM agree on these; a slash or a query here would end up in another bucket's URL.
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text):
        raise ValueError("must have 3 to 63 lower-case letters, digits, dots and dashes")
    return text


_Endpoint = Annotated[str, AfterValidator(_check_endpoint)]


class BucketSettings(ProgramSettings):
    """Where the bucket is, and who may use it."""

    cos_bucket: Annotated[str, AfterValidator(_check_bucket)] = Field(description="the bucket, which must exist")
    cos_addressing: Literal["", "path", "virtual"] = Field(
        "",
        description="where the bucket stands in URLs: in the path, or with virtual in the host, which a few stores"
        " want; empty: path",
    )
    cos_endpoint: _Endpoint = Field(
        description="URL of the object storage, such as https://s3.eu-de.cloud-object-storage.appdomain.cloud, without"
        " the bucket"
    )
    cos_public_endpoint: _Endpoint | None = Field(
        None, description="the same store's URL in browsers, where it differs: links to faces are made for it"
    )
    cos_region: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="the region that the store checks in signatures of HMAC keys; empty: as the store says",
    )
    cos_api_key_id: SecretStr | None = Field(None, description="IBM Cloud: API key of a service credential (IAM)")
    cos_instance_crn: str | None = Field(
        None, description="IBM Cloud: CRN of the storage instance, goes with the API key"
    )
    cos_auth_endpoint: _Endpoint = Field(
        "https://iam.cloud.ibm.com/identity/token", description="IBM Cloud: where an API key is exchanged for a token"
    )
    cos_hmac_access_key_id: SecretStr | None = Field(None, description="HMAC or any S3 store: access key id")
    cos_hmac_secret_access_key: SecretStr | None = Field(None, description="HMAC or any S3 store: secret access key")

    @field_validator("cos_endpoint", "cos_public_endpoint")
    @classmethod
    def _check_place(cls, url: str | None, info: ValidationInfo) -> str | None:
        bucket, addressing = info.data.get("cos_bucket"), info.data.get("cos_addressing")
        if not url or not bucket:
            return url
        parts = urlsplit(unquote(url).lower())
        # With `path`, somebody has said that a host of that name is the store's own.
        in_host = addressing != "path" and (parts.hostname or "").startswith(f"{bucket}.")
        if in_host or bucket in parts.path.split("/"):
            netloc = parts.netloc.removeprefix(f"{bucket}.") if in_host else parts.netloc
            path = "/".join(part for part in parts.path.split("/") if part != bucket).rstrip("/")
            remedy = " and COS_ADDRESSING=virtual" if in_host and addressing != "virtual" else ""
            raise ValueError(f"holds the bucket {bucket} already: write {parts.scheme}://{netloc}{path}{remedy}")
        if addressing == "virtual" and _ADDRESS.fullmatch(parts.hostname or ""):
            raise ValueError("has an IP address, which a bucket cannot stand before: leave COS_ADDRESSING empty")
        return url

    def contradictions(self) -> list[str]:
        lines = []
        pairs = (
            {"COS_API_KEY_ID": self.cos_api_key_id, "COS_INSTANCE_CRN": self.cos_instance_crn},
            {
                "COS_HMAC_ACCESS_KEY_ID": self.cos_hmac_access_key_id,
                "COS_HMAC_SECRET_ACCESS_KEY": self.cos_hmac_secret_access_key,
            },
        )
        given = [pair for pair in pairs if any(pair.values())]
        if len(given) > 1:
            lines.append("COS_API_KEY_ID, COS_HMAC_ACCESS_KEY_ID: both kinds of credentials are set; keep one pair")
        elif not given:
            lines.append(
                "COS_API_KEY_ID: no credentials; set it with COS_INSTANCE_CRN,"
                " or COS_HMAC_ACCESS_KEY_ID with COS_HMAC_SECRET_ACCESS_KEY"
            )
        for pair in given:
            lines += [f"{name}: is not set; it belongs to the other one" for name, v in pair.items() if not v]
        if self.cos_addressing == "virtual" and self.cos_endpoint.startswith("https") and "." in self.cos_bucket:
            lines.append(
                f"COS_ADDRESSING: a certificate does not cover a host {self.cos_bucket}.…, whose bucket has a dot;"
                " leave it empty, or name a bucket without dots"
            )
        return lines


class StoreSettings(BucketSettings):
    """What else those can be told who write."""

    cos_sse: Literal["", "AES256", "aws:kms"] = Field(
        "",
        description="encryption that the store is asked for with each object, AES256 or aws:kms; empty: as the bucket"
        " is set up, which is the way at IBM Cloud",
    )
    cos_sse_kms_key_id: str = Field(
        "", pattern=r"^[!-~]{0,2048}$", description="the key that aws:kms takes, unless it is the store's own"
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=36500,
        description="days after which the store itself deletes what it was given, by a rule that"
        " `python -m cloud_saver retention` puts there; 0 = never",
    )

    def contradictions(self) -> list[str]:
        lines = super().contradictions()
        if self.cos_sse_kms_key_id and self.cos_sse != "aws:kms":
            lines.append("COS_SSE_KMS_KEY_ID: is for COS_SSE=aws:kms; set that as well, or leave it out")
        return lines

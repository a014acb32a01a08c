"""The gallery's settings, and what follows from its addresses."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from cloud_gallery.password import is_hash
from face_messages.service.settings import MqttUrls, Name
from object_store.settings import BucketSettings

_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Scheme, host and port as browsers write them: in lower case, without the usual port. Empty for no URL."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, (parts.hostname or "").rstrip("."), parts.port
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError:
        return ""
    if scheme not in _PORTS or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port in (None, _PORTS[scheme]) else f"{scheme}://{host}:{port}"


def _check_urls(text: str) -> str:
    urls = [url.strip() for url in text.split(",") if url.strip()]
    for url in urls:
        if not origin_of(url) or not re.fullmatch(r"(?i)https?://[^\s/?#@\\]+(/[A-Za-z0-9._~-]+)*/?", url):
            raise ValueError("must be a URL such as https://faces.example.org or https://example.org/faces")
    return ",".join(url.rstrip("/") for url in urls)


def _check_password(text: SecretStr) -> SecretStr:
    if not is_hash(text.get_secret_value().strip()):
        raise ValueError("is no hash: `python3 -m cloud_gallery password` asks for a password and prints its hash")
    return SecretStr(text.get_secret_value().strip())


class GallerySettings(BucketSettings):
    """What `cloud_gallery` can be told."""

    mqtt_url: MqttUrls = Field(
        description="the cloud broker, such as mqtt://cloud_mosquitto:1883; of several, with commas between, the next"
        " is tried when one is away"
    )
    gallery_host: str = Field(
        "127.0.0.1", description="address on which the page is served; another than loopback needs GALLERY_PASSWORD"
    )
    gallery_port: int = Field(8080, ge=1, le=65535, description="port on which the page is served")
    gallery_url: Annotated[str, AfterValidator(_check_urls)] = Field(
        "",
        description="where browsers find it behind a proxy, such as https://faces.example.org or"
        " https://example.org/faces; several with commas between; empty: no proxy",
    )
    gallery_password: Annotated[SecretStr, AfterValidator(_check_password)] | None = Field(
        None, description="hash of the password that lets people in, made by `python3 -m cloud_gallery password`"
    )
    gallery_id: Name = Field("cloud_gallery", description="name of this gallery at the broker; one each")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the page."""
        return is_loopback(self.gallery_host)

    @property
    def urls(self) -> list[str]:
        return self.gallery_url.split(",") if self.gallery_url else []

    def browsers_reach_store(self, *, on_this_machine: bool) -> bool:
        """Whether a browser may open a link to the store's own address; `on_this_machine`: where it seems to be."""
        host = urlsplit(self.cos_endpoint).hostname or ""
        if self.cos_public_endpoint:
            return True
        if is_loopback(host):
            return on_this_machine and self.is_local and not self.gallery_url
        try:
            return ipaddress.ip_address(host).is_global
        except ValueError:
            return True  # of names, the store's links take care

    def contradictions(self) -> list[str]:
        lines = super().contradictions()
        if self.gallery_password is None and (not self.is_local or self.gallery_url):
            lines.append(
                "GALLERY_PASSWORD: is not set, and others can reach the page; put what `python3 -m cloud_gallery"
                " password` prints into the file gallery_password among the secrets, or serve on 127.0.0.1 only"
            )
        return lines


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"

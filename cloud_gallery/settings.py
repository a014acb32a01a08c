"""The gallery's settings."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from cloud_gallery.password import is_hash
from face_messages.service.settings import MqttUrl, Name
from object_store.settings import StoreSettings


def _check_url(text: str) -> str:
    if text and not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?/?", text):
        raise ValueError("must be a URL such as https://faces.example.org, with nothing behind the host and port")
    return text.rstrip("/")


def _check_password(text: SecretStr) -> SecretStr:
    if not is_hash(text.get_secret_value().strip()):
        raise ValueError("is no hash: `python3 -m cloud_gallery password` asks for a password and prints its hash")
    return SecretStr(text.get_secret_value().strip())


class GallerySettings(StoreSettings):
    """What `cloud_gallery` can be told."""

    mqtt_url: MqttUrl = Field(description="the cloud broker, such as mqtt://cloud_mosquitto:1883")
    gallery_host: str = Field(
        "127.0.0.1", description="address on which the page is served; another than loopback needs GALLERY_PASSWORD"
    )
    gallery_port: int = Field(8080, ge=1, le=65535, description="port on which the page is served")
    gallery_url: Annotated[str, AfterValidator(_check_url)] = Field(
        "",
        description="where browsers find it behind a proxy, such as https://faces.example.org; empty: no proxy",
    )
    gallery_password: Annotated[SecretStr, AfterValidator(_check_password)] | None = Field(
        None, description="hash of the password that lets people in, made by `python3 -m cloud_gallery password`"
    )
    gallery_id: Name = Field("cloud_gallery", description="name of this gallery at the broker; one each")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the page."""
        try:
            return ipaddress.ip_address(self.gallery_host).is_loopback
        except ValueError:
            return self.gallery_host == "localhost"

    @property
    def public_host(self) -> str:
        return urlsplit(self.gallery_url).netloc

    def contradictions(self) -> list[str]:
        lines = super().contradictions()
        if self.gallery_password is None and (not self.is_local or self.gallery_url):
            lines.append(
                "GALLERY_PASSWORD: is not set, and others can reach the page; put what `python3 -m cloud_gallery"
                " password` prints into the file gallery_password among the secrets, or serve on 127.0.0.1 only"
            )
        return lines

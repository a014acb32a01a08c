"""The saver's settings."""

from __future__ import annotations

import socket
from pathlib import Path

from pydantic import Field

from face_messages.mqtt.url import TlsFiles
from face_messages.service.settings import MqttSettings, MqttUrl, Name, tls_contradictions
from object_store.settings import StoreSettings


class SaverSettings(StoreSettings, MqttSettings):
    """What `cloud_saver` can be told."""

    mqtt_url: MqttUrl = Field(description="the cloud broker, such as mqtt://cloud_mosquitto:1883")
    mqtt_ca_file: Path | None = Field(None, description="PEM file of the CA that signed the broker's certificate")
    mqtt_cert_file: Path | None = Field(None, description="PEM file of this client's certificate")
    mqtt_key_file: Path | None = Field(None, description="PEM file of that certificate's key")
    saver_group: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="name under which several savers share the work (a shared subscription); empty for a single saver",
    )
    saver_id: Name | None = Field(
        None, description="name of this saver within its group, the same after a restart; the host's name unless set"
    )
    saver_workers: int = Field(16, ge=1, le=256, description="objects that are written at the same time")

    @property
    def tls(self) -> TlsFiles:
        return TlsFiles(self.mqtt_ca_file, self.mqtt_cert_file, self.mqtt_key_file)

    @property
    def client_id(self) -> str:
        """One for a single saver, so that its session waits for it; one for each member of a group."""
        return f"cloud_saver-{self.saver_id or socket.gethostname()}" if self.saver_group else "cloud_saver"

    def contradictions(self) -> list[str]:
        lines = super().contradictions() + tls_contradictions(self.mqtt_url, self.tls, "MQTT_")
        if self.saver_id and not self.saver_group:
            lines.append("SAVER_ID: names a member of a group; set SAVER_GROUP as well, or leave it out")
        return lines

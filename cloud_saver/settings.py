"""The saver's settings."""

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from face_messages.mqtt.url import AmqpUrl, TlsFiles
from face_messages.service.settings import MqttSettings, MqttUrl, Name, broker_urls, tls_contradictions, understood_by
from object_store.settings import StoreSettings


def amqp_urls(setting: SecretStr) -> tuple[AmqpUrl, ...]:
    """Raises ValueError: what is wrong with the URLs, without repeating them."""
    return AmqpUrl.parse_all(setting.get_secret_value())


AmqpUrls = Annotated[SecretStr, understood_by(AmqpUrl.parse_all)]


class SaverSettings(StoreSettings, MqttSettings):
    """What `cloud_saver` can be told."""

    amqp_url: AmqpUrls | None = Field(
        None,
        description="in place of MQTT_URL, the nodes of a RabbitMQ cluster, such as"
        " amqp://cloud_rabbitmq1:5672,amqp://cloud_rabbitmq2:5672; the next is tried when one is away",
    )
    mqtt_url: MqttUrl | None = Field(
        None,
        validate_default=True,
        description="the cloud broker, such as mqtt://cloud_mosquitto:1883; required unless AMQP_URL is set",
    )
    mqtt_ca_file: Path | None = Field(None, description="PEM file of the CA that signed the broker's certificate")
    mqtt_cert_file: Path | None = Field(None, description="PEM file of this client's certificate")
    mqtt_key_file: Path | None = Field(None, description="PEM file of that certificate's key")
    saver_group: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="name under which several savers share the work (a shared subscription); empty for a single saver",
    )
    saver_id: Name | None = Field(
        None, description="name of this saver among several, the same after a restart; the host's name unless set"
    )
    saver_workers: int = Field(16, ge=1, le=256, description="objects that are written at the same time")

    @field_validator("mqtt_url")
    @classmethod
    def _one_is_needed(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if url is None and info.data.get("amqp_url", "wrong") is None:
            raise ValueError("is not set")
        return url

    @property
    def tls(self) -> TlsFiles:
        return TlsFiles(self.mqtt_ca_file, self.mqtt_cert_file, self.mqtt_key_file)

    @property
    def client_id(self) -> str:
        """One for a single saver, so that its session waits for it; one for each of several."""
        is_one_of_many = self.saver_group or self.amqp_url is not None
        return f"cloud_saver-{self.saver_id or socket.gethostname()}" if is_one_of_many else "cloud_saver"

    def contradictions(self) -> list[str]:
        lines = super().contradictions()
        if self.mqtt_url is not None:
            lines += tls_contradictions(broker_urls(self.mqtt_url), self.tls, "MQTT_")
        if self.amqp_url is not None:
            lines += tls_contradictions(amqp_urls(self.amqp_url), self.tls, "MQTT_", url="AMQP_URL")
        if self.mqtt_url is not None and self.amqp_url is not None:
            lines.append("MQTT_URL, AMQP_URL: only one of them; MQTT_URL is for Mosquitto, AMQP_URL for RabbitMQ")
        if self.amqp_url is not None and self.saver_group:
            lines.append("SAVER_GROUP: belongs to MQTT_URL; leave it out, as savers always share with AMQP_URL")
        if self.saver_id and not self.saver_group and self.amqp_url is None:
            lines.append("SAVER_ID: names a member of a group; set SAVER_GROUP as well, or leave it out")
        return lines

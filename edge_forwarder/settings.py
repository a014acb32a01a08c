"""The forwarder's settings."""

from pathlib import Path

from pydantic import Field

from face_messages.mqtt.url import TlsFiles
from face_messages.service.settings import (
    MqttSettings,
    MqttUrl,
    MqttUrls,
    Name,
    OutboxSettings,
    broker_url,
    broker_urls,
    proxy_contradictions,
    tls_contradictions,
)


class ForwarderSettings(MqttSettings, OutboxSettings):
    """What `edge_forwarder` can be told."""

    edge_id: Name = Field(description="name of this edge device; its client id at both brokers, so give each its own")
    edge_mqtt_url: MqttUrl = Field(description="the edge broker, such as mqtt://edge_mqtt_broker:1883")
    cloud_mqtt_url: MqttUrls = Field(
        description="the cloud broker, such as mqtts://vm.example.org:8883; of several, with commas between, the next"
        " is tried when one is away"
    )
    cloud_mqtt_ca_file: Path | None = Field(
        None, description="PEM file of the CA that signed the cloud broker's certificate"
    )
    cloud_mqtt_cert_file: Path | None = Field(None, description="PEM file of this edge's certificate")
    cloud_mqtt_key_file: Path | None = Field(None, description="PEM file of that certificate's key")
    send_window: int = Field(
        256,
        ge=1,
        le=65535,
        description="faces that may be on their way to the cloud without a receipt; more wait on disk",
    )

    @property
    def cloud_tls(self) -> TlsFiles:
        return TlsFiles(self.cloud_mqtt_ca_file, self.cloud_mqtt_cert_file, self.cloud_mqtt_key_file)

    def contradictions(self) -> list[str]:
        lines = tls_contradictions(broker_urls(self.cloud_mqtt_url), self.cloud_tls, "CLOUD_MQTT_")
        lines += proxy_contradictions(self.cloud_mqtt_url)
        edge, clouds = broker_url(self.edge_mqtt_url), broker_urls(self.cloud_mqtt_url)
        if (edge.host, edge.port) in [(cloud.host, cloud.port) for cloud in clouds]:
            lines.append(
                "EDGE_MQTT_URL, CLOUD_MQTT_URL: are the same broker, where each face would go round for ever;"
                " set CLOUD_MQTT_URL to the broker in the cloud"
            )
        return lines

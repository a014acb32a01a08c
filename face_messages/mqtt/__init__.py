"""The MQTT session: paho-mqtt's client, driven by a thread of its own."""

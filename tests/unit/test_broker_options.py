"""Options of the brokers' configurations are put where they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = ("cloud_mosquitto/mosquitto.conf", "edge_mqtt_broker/mosquitto.conf")

# Those that mosquitto.conf(5) of 2.0 lists under "Listeners" and that its source keeps with the listener. All others
# hold for every listener, wherever they stand. `plugin` is one of these, and is meant to be.
OF_A_LISTENER = {
    *("listener", "bind_interface", "http_dir", "max_connections", "max_qos", "max_topic_alias", "mount_point"),
    *("protocol", "socket_domain", "use_username_as_clientid", "websockets_headers_size"),
    *("cafile", "capath", "certfile", "ciphers", "ciphers_tls1.3", "crlfile", "dhparamfile", "keyfile", "tls_version"),
    *("require_certificate", "use_identity_as_username", "use_subject_as_username", "psk_hint"),
}


def options(name: str) -> dict[str, str]:
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


def test_what_is_meant_for_outsiders_holds_for_them_alone() -> None:
    assert set(options("cloud_mosquitto/outside.conf")) - OF_A_LISTENER == {"plugin"}


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("option", ["max_keepalive", "persistent_client_expiration", "per_listener_settings"])
def test_no_plain_client_is_shut_out_and_no_session_ends_by_the_wall_clock(name: str, option: str) -> None:
    assert option not in options(name)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_waits_for_a_client_that_never_comes_back_is_bounded(name: str) -> None:
    assert 0 < int(options(name)["max_queued_bytes"]) <= 64 * 1024 * 1024
    assert int(options(name)["max_queued_messages"]) > 0

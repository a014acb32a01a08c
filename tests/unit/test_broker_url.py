"""MQTT URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_messages import BrokerUrl


@pytest.mark.parametrize(
    ("text", "host", "port", "tls"),
    [
        ("mqtt://broker", "broker", 1883, False),
        ("mqtt://broker:1884/", "broker", 1884, False),
        ("mqtts://Broker.Example.org", "broker.example.org", 8883, True),
        ("mqtt://127.0.0.1:65535", "127.0.0.1", 65535, False),
        ("mqtts://[::1]:8884", "::1", 8884, True),
        ("mqtt://edge_mqtt_broker", "edge_mqtt_broker", 1883, False),
        ("MQTT://bücher.example", "bücher.example", 1883, False),
    ],
)
def test_a_url_names_host_and_port(text: str, host: str, port: int, tls: bool) -> None:
    """With the ports of the standard where none is named."""
    url = BrokerUrl.parse(text)
    assert (url.host, url.port, url.tls, url.username, url.password) == (host, port, tls, None, None)
    assert BrokerUrl.parse(str(url)) == url


def test_user_and_password_are_decoded_and_never_printed() -> None:
    """What is special in a password is percent-encoded."""
    url = BrokerUrl.parse("mqtts://us%40er:p%3A%2F%40%C3%A9@host")
    assert (url.username, url.password) == ("us@er", "p:/@é")
    assert "p:/@" not in f"{url} {url!r}"
    assert "%3A" not in f"{url} {url!r}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must begin with"),
        ("broker:1883", "must begin with"),
        ("http://broker", "must begin with"),
        ("tcp://broker", "must begin with"),
        ("mqtt://", "no host"),
        ("mqtt://:1883", "no host"),
        ("mqtt://broker:port", "port"),
        ("mqtt://broker:65536", "port"),
        ("mqtt://broker:0", "port"),
        ("mqtt://broker:-1", "port"),
        ("mqtt://broker/topic", "after the port"),
        ("mqtt://broker?x", "after the port"),
        ("mqtt://broker#x", "after the port"),
        ("mqtt://[::1", "percent-encode"),
        ("mqtt://user:pass@[bad]", "percent-encode"),
        ("mqtt://user:hush\u2100hush@broker", "percent-encode"),
        ("mqtt://a..b", "host"),
        ("mqtts://.example.org", "host"),
        ("mqtt://" + "x" * 64 + ".example", "host"),
    ],
)
def test_what_is_wrong_is_told_without_the_url(text: str, problem: str) -> None:
    """It may hold a password."""
    with pytest.raises(ValueError, match=problem) as caught:
        BrokerUrl.parse(text)
    assert "hush" not in str(caught.value)


@given(text=st.one_of(st.text(), st.text().map(lambda t: f"mqtts://{t}")))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    """And what is accepted can be handed to the resolver."""
    try:
        url = BrokerUrl.parse(text)
    except ValueError:
        return
    url.host.encode("idna")
    assert 1 <= url.port <= 65535

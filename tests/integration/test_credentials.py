"""Credentials come from files or the environment, go to the store alone, and show up nowhere else."""

from __future__ import annotations

import base64
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from dev.stack.mosquitto import Mosquitto
from tests.support.certificates import Authority
from tests.support.fake_http import Answer, FakeHttp, Request, stored
from tests.support.plain import plain_client, publish
from tests.support.programs import ROOT, Program
from tests.support.raw_http import RawHttp, answering
from tests.support.waiting import eventually

# What would be found of them in a text, as they are, quoted or encoded.
KEY = "hush+api/key=0123456789"
MARKS = {KEY, quote_plus(KEY), base64.b64encode(KEY.encode()).decode(), "hush", "the-token"}
IAM = {"cos_api_key_id": KEY, "cos_instance_crn": "crn:v1:instance"}
HMAC = {"cos_hmac_access_key_id": f"id-{KEY}", "cos_hmac_secret_access_key": KEY}

# The program as it is, but for the folder of its secrets.
START = """
import pathlib, runpy, sys
from face_messages.service import settings
settings.SECRETS = pathlib.Path({secrets!r})
runpy.run_module("cloud_saver", run_name="__main__", alter_sys=True)
"""


class SecretSaver(Program):
    """A `cloud_saver` whose credentials are in files alone; not started."""

    def __init__(self, folder: Path, broker: str, credentials: dict[str, str], **settings: str) -> None:
        super().__init__("cloud_saver", folder, {"MQTT_URL": broker, "COS_BUCKET": "faces"} | settings)
        secrets = folder / "secrets"
        secrets.mkdir()
        for name, value in credentials.items():
            (secrets / name).write_text(f"{value}\n")
        (folder / "start.py").write_text(START.format(secrets=str(secrets)))
        self._args = [sys.executable, str(folder / "start.py")]

    def shown(self) -> str:
        """All that others can see of it: its log, its command line, its environment, its figures and its health."""
        process = Path("/proc") / str(self.pid)
        public = "".join((process / name).read_text() for name in ("cmdline", "environ", "comm"))
        return self.log_text() + public + "".join(self.ask(page)[1] for page in ("/metrics", "/healthz"))


def assert_hidden(text: str) -> None:
    assert [mark for mark in MARKS if mark in text] == []


def send(broker: Mosquitto) -> None:
    with plain_client(broker.port) as client:
        publish(client, "facedetection_topic", b"a message")


def echo(request: Request) -> Answer:
    """A server that says in its refusal what it was sent."""
    told = request.body + repr(request.headers).encode()
    return Answer(400, b"<Error><Code>" + told + b"</Code></Error>", {"X-Echo": quote_plus(KEY)})


def token(_request: Request) -> Answer:
    return Answer(200, b'{"access_token": "the-token", "expires_in": 3600}')


@pytest.mark.parametrize("credentials", [IAM, HMAC], ids=["IAM", "HMAC"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(echo, id="echo"),
        pytest.param(lambda _request: Answer(403, b"<Error><Code>AccessDenied</Code></Error>"), id="403"),
        pytest.param(lambda _request: Answer(500), id="500"),
        pytest.param(lambda _request: Answer(200, KEY.encode()), id="no store"),
    ],
)
def test_a_store_s_refusal_shows_no_credentials(
    answer: Callable[[Request], Answer], credentials: dict[str, str], broker: Mosquitto, tmp_path: Path
) -> None:
    """Nor does what works; they were used, though."""
    with FakeHttp(answer) as cos, FakeHttp(token) as iam:
        saver = SecretSaver(
            tmp_path, broker.url, credentials, COS_ENDPOINT=cos.url, COS_AUTH_ENDPOINT=iam.url, LOG_LEVEL="debug"
        )
        with saver:
            eventually(lambda: saver.figure("cloud_broker_up") == 1)
            send(broker)
            eventually(lambda: saver.figure("store_failures_total") > 0)
            assert_hidden(saver.shown())
            cos.answer = stored
            eventually(lambda: saver.figure("objects_stored_total") > 0)
            assert_hidden(saver.shown())
        assert_hidden(saver.log_text())
        sent = cos.requests[-1].headers["authorization"]
        used = "Bearer the-token" if credentials is IAM else f"Credential={credentials['cos_hmac_access_key_id']}/"
        assert used in sent


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (echo, "no token for COS_API_KEY_ID could be had (HTTP 400)"),
        (lambda _request: Answer(500, KEY.encode()), "has trouble of its own (HTTP 500)"),
        (lambda request: Answer(200, request.body), "something that is no token"),
        (lambda _request: Answer(200, f'{{"access_token": "{KEY} x", "expires_in": 1}}'.encode()), "no token"),
        (None, "cannot be reached"),
    ],
    ids=["echo", "500", "echo as a token", "a token that is none", "down"],
)
def test_trouble_with_tokens_shows_no_credentials(
    answer: Callable[[Request], Answer] | None, said: str, broker: Mosquitto, tmp_path: Path
) -> None:
    with FakeHttp(answer or token) as iam:
        url = iam.url if answer else "http://127.0.0.1:9"
        saver = SecretSaver(tmp_path, broker.url, IAM, COS_ENDPOINT="http://127.0.0.1:9", COS_AUTH_ENDPOINT=url)
        with saver:
            eventually(lambda: saver.figure("cloud_broker_up") == 1)
            send(broker)
            saver.expect_line(said)
            assert_hidden(saver.shown())


def test_a_store_with_a_false_certificate_is_sent_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    """And the log names the certificate's fault only."""
    pair = Authority(tmp_path).issue("store", host="127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    with RawHttp(answering(b""), certificate=context) as cos:
        saver = SecretSaver(tmp_path, broker.url, HMAC, COS_ENDPOINT=cos.url)
        with saver:
            eventually(lambda: saver.figure("cloud_broker_up") == 1)
            send(broker)
            saver.expect_line("a certificate that is not to be trusted")
            assert_hidden(saver.shown())


def test_a_crash_shows_no_credentials(broker: Mosquitto, tmp_path: Path) -> None:
    """Its traceback names lines of the program, and no values."""
    (tmp_path / "sitecustomize.py").write_text(
        "import faulthandler; faulthandler.enable()\n"
        "import object_store.connections as c\n"
        "def broken(self, method, path, headers, body=b'', **more): raise RuntimeError('broken on purpose')\n"
        "c.Connections.request = broken\n"
    )
    saver = SecretSaver(tmp_path, broker.url, HMAC, COS_ENDPOINT="http://127.0.0.1:9", PYTHONPATH=f"{ROOT}:{tmp_path}")
    with saver:
        eventually(lambda: saver.figure("cloud_broker_up") == 1)
        send(broker)
        assert saver.wait(20) == 1
    assert "broken on purpose" in saver.log_text()
    assert "Traceback" in saver.log_text()
    assert_hidden(saver.log_text())


def test_an_abort_shows_no_credentials(tmp_path: Path) -> None:
    """With the stacks of all threads in the log."""
    saver = SecretSaver(tmp_path, "mqtt://127.0.0.1:9", HMAC, COS_ENDPOINT="http://127.0.0.1:9", PYTHONFAULTHANDLER="1")
    with saver:
        saver.expect_line("started")
        os.kill(saver.pid, signal.SIGABRT)
        assert saver.wait(20) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in saver.log_text()
    assert_hidden(saver.log_text())


@pytest.mark.parametrize(
    "wrong",
    [
        {"cos_hmac_secret_access_key": KEY},
        IAM | HMAC,
        HMAC | {"cos_bucket": f"No {KEY}"},
        HMAC | {"cos_endpoint": f"https://user:{KEY}@store"},
        HMAC | {"mqtt_url": f"mqtt://user:{KEY}@b:x"},
    ],
    ids=["half", "both kinds", "bucket", "endpoint", "broker"],
)
@pytest.mark.parametrize("command", [[], ["retention"]], ids=["saver", "retention"])
def test_wrong_settings_are_told_without_the_values(wrong: dict[str, str], command: list[str], tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, value in {"cos_endpoint": "http://a", "cos_bucket": "faces", "mqtt_url": "mqtt://b", **wrong}.items():
        (secrets / name).write_text(value)
    start = tmp_path / "start.py"
    start.write_text(START.format(secrets=str(secrets)))
    env = {"PYTHONPATH": str(ROOT)}
    asked = [sys.executable, str(start), *command]
    done = subprocess.run(asked, env=env, capture_output=True, text=True, check=False, timeout=60)
    if "mqtt_url" not in wrong or not command:
        assert done.returncode == 2
        assert done.stderr.startswith("cloud_saver: ")
    assert "Traceback" not in done.stderr
    assert_hidden(done.stdout + done.stderr)

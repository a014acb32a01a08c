"""Settings: what is missing, wrong or contradictory ends the program with a line that helps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_saver.settings import SaverSettings, amqp_urls
from edge_forwarder.settings import ForwarderSettings
from face_messages import WhenFull
from face_messages.service import settings as settings_module
from face_messages.service.settings import ProgramSettings, SettingsError

ROOT = Path(__file__).parents[2]
FORWARDER = {"EDGE_ID": "tx2", "EDGE_MQTT_URL": "mqtt://edge", "CLOUD_MQTT_URL": "mqtts://u:hush@cloud"}
SAVER = {
    "MQTT_URL": "mqtt://cloud",
    "COS_ENDPOINT": "https://s3.example.org",
    "COS_BUCKET": "faces",
    "COS_HMAC_ACCESS_KEY_ID": "hush-id",
    "COS_HMAC_SECRET_ACCESS_KEY": "hush-key",
}
IAM = {"COS_API_KEY_ID": "hush-key", "COS_INSTANCE_CRN": "crn:v1:x"}
PROGRAMS: dict[str, tuple[type[ProgramSettings], dict[str, str]]] = {
    "edge_forwarder": (ForwarderSettings, FORWARDER),
    "cloud_saver": (SaverSettings, SAVER),
}
Load = Callable[..., ProgramSettings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Loads a program's settings from these variables alone."""
    monkeypatch.setattr(settings_module, "SECRETS", tmp_path / "secrets")

    def load(program: str, changes: dict[str, str | None] | None = None) -> ProgramSettings:
        settings_type, variables = PROGRAMS[program]
        for name in [*os.environ]:
            if name.upper() in {n.upper() for n in settings_type.model_fields}:
                monkeypatch.delenv(name)
        for name, value in {**variables, **(changes or {})}.items():
            if value is not None:
                monkeypatch.setenv(name, value)
        return settings_type.load()

    return load


def lines(load: Load, program: str, changes: dict[str, str | None]) -> list[str]:
    """What is said about these settings."""
    with pytest.raises(SettingsError) as caught:
        load(program, changes)
    assert "hush" not in "\n".join(caught.value.lines)
    return caught.value.lines


def test_what_is_set_is_taken_and_the_rest_has_defaults(load: Load) -> None:
    """For both programs."""
    forwarder = load("edge_forwarder", {"OUTBOX_WHEN_FULL": "overwrite-oldest", "SEND_WINDOW": "7"})
    assert isinstance(forwarder, ForwarderSettings)
    assert (forwarder.edge_id, forwarder.send_window, forwarder.mqtt_topic) == ("tx2", 7, "facedetection_topic")
    assert forwarder.outbox_when_full is WhenFull.OVERWRITE_OLDEST
    saver = load("cloud_saver")
    assert isinstance(saver, SaverSettings)
    assert (saver.cos_bucket, saver.saver_workers, saver.client_id) == ("faces", 16, "cloud_saver")


@pytest.mark.parametrize(
    ("program", "name"),
    [("edge_forwarder", name) for name in FORWARDER] + [("cloud_saver", n) for n in SAVER if "HMAC" not in n],
)
@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_a_missing_variable_is_named_and_explained(load: Load, program: str, name: str, value: str | None) -> None:
    """An empty one counts as unset, since compose passes it on like that."""
    (line,) = lines(load, program, {name: value})
    assert line.startswith(f"{name}: is not set. {name} is ")


@pytest.mark.parametrize(
    ("program", "name", "value", "said"),
    [
        ("edge_forwarder", "EDGE_ID", "../etc", "letters, digits"),
        ("edge_forwarder", "EDGE_ID", "a/b", "letters, digits"),
        ("edge_forwarder", "EDGE_ID", "tx2\n", "letters, digits"),
        ("edge_forwarder", "EDGE_ID", "x" * 64, "63"),
        ("edge_forwarder", "EDGE_MQTT_URL", "broker:1883", "must begin with mqtt://"),
        ("edge_forwarder", "EDGE_MQTT_URL", "mqtt://u:hush\u2100hush@h", "percent-encode"),
        ("edge_forwarder", "CLOUD_MQTT_URL", "mqtts://u:hush@h/x", "after the port"),
        ("edge_forwarder", "CLOUD_MQTT_URL", "mqtts://u:hush@h:x", "port"),
        ("edge_forwarder", "SEND_WINDOW", "many", "integer"),
        ("edge_forwarder", "SEND_WINDOW", "0", "greater than or equal to 1"),
        ("edge_forwarder", "SEND_WINDOW", "65536", "less than or equal to 65535"),
        ("edge_forwarder", "OUTBOX_MAX_BYTES", "1000", "greater than or equal"),
        ("edge_forwarder", "OUTBOX_WHEN_FULL", "panic", "'reject-new' or 'overwrite-oldest'"),
        ("edge_forwarder", "MQTT_TOPIC", "faces/#", "must be a topic"),
        ("edge_forwarder", "MQTT_TOPIC", "faces/", "must be a topic"),
        ("edge_forwarder", "MQTT_TOPIC", "a\nb", "must be a topic"),
        ("edge_forwarder", "MQTT_TOPIC", "x" * 70_000, "must be a topic"),
        ("edge_forwarder", "METRICS_PORT", "65536", "less than or equal to 65535"),
        ("edge_forwarder", "LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("edge_forwarder", "LOG_FORMAT", "xml", "'text' or 'json'"),
        ("cloud_saver", "MQTT_URL", "http://cloud", "must begin with mqtt://"),
        ("cloud_saver", "SAVER_WORKERS", "0", "greater than or equal to 1"),
        ("cloud_saver", "SAVER_WORKERS", "1.5", "integer"),
        ("cloud_saver", "SAVER_GROUP", "a/b", "letters, digits"),
        ("cloud_saver", "COS_BUCKET", "No_Bucket", "lower-case"),
        ("cloud_saver", "COS_BUCKET", "a/../b", "lower-case"),
        ("cloud_saver", "COS_ENDPOINT", "s3.example.org", "must be a URL"),
        ("cloud_saver", "COS_ENDPOINT", "https://user:hush@s3.example.org", "without a user"),
        ("cloud_saver", "COS_ENDPOINT", "https://s3_server:9000", "underscore"),
        ("cloud_saver", "COS_ENDPOINT", "https://s3.example.org:99999", "must be a URL"),
        ("cloud_saver", "COS_ENDPOINT", "https://a..b", "must be a URL"),
        ("cloud_saver", "COS_AUTH_ENDPOINT", "file:///etc/passwd", "must be a URL"),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(
    load: Load, program: str, name: str, value: str, said: str
) -> None:
    """And with what the variable is for."""
    (line,) = lines(load, program, {name: value})
    assert line.startswith(f"{name}: ")
    assert said in line
    assert f"{name} is " in line


def test_all_that_is_wrong_is_told_at_once(load: Load) -> None:
    """A line for each."""
    told = lines(load, "edge_forwarder", {"EDGE_ID": None, "SEND_WINDOW": "x", "LOG_LEVEL": "loud"})
    assert sorted(line.split(":")[0] for line in told) == ["EDGE_ID", "LOG_LEVEL", "SEND_WINDOW"]


@pytest.mark.parametrize(
    ("program", "changes", "said"),
    [
        ("cloud_saver", dict(IAM), "COS_API_KEY_ID, COS_HMAC_ACCESS_KEY_ID: both kinds"),
        ("cloud_saver", dict.fromkeys(n for n in SAVER if "HMAC" in n), "COS_API_KEY_ID: no credentials"),
        ("cloud_saver", {"COS_HMAC_SECRET_ACCESS_KEY": None}, "COS_HMAC_SECRET_ACCESS_KEY: is not set"),
        ("cloud_saver", {"COS_HMAC_ACCESS_KEY_ID": ""}, "COS_HMAC_ACCESS_KEY_ID: is not set"),
        ("cloud_saver", {"MQTT_CA_FILE": str(ROOT / "pyproject.toml")}, "MQTT_CA_FILE: need TLS"),
        ("edge_forwarder", {"CLOUD_MQTT_CA_FILE": "/nowhere/ca.pem"}, "CLOUD_MQTT_CA_FILE: /nowhere/ca.pem cannot be"),
        (
            "edge_forwarder",
            {"CLOUD_MQTT_CERT_FILE": str(ROOT / "pyproject.toml")},
            "CLOUD_MQTT_CERT_FILE, CLOUD_MQTT_KEY_FILE: belong together",
        ),
        ("edge_forwarder", {"EDGE_MQTT_URL": "mqtt://cloud:8883"}, "EDGE_MQTT_URL, CLOUD_MQTT_URL: are the same"),
    ],
)
def test_what_does_not_go_together_is_told(load: Load, program: str, changes: dict[str, str | None], said: str) -> None:
    """Naming all variables that take part in it."""
    assert any(line.startswith(said) for line in lines(load, program, changes))


def test_iam_credentials_are_enough(load: Load) -> None:
    """In the place of HMAC keys."""
    settings = load("cloud_saver", {**dict.fromkeys(n for n in SAVER if "HMAC" in n), **IAM})
    assert isinstance(settings, SaverSettings)
    assert settings.cos_auth_endpoint == "https://iam.cloud.ibm.com/identity/token"


def test_secrets_come_from_files_as_well(load: Load, tmp_path: Path) -> None:
    """Named in lower case, with or without a line break at the end; the environment goes first."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "cos_hmac_access_key_id").write_text("from-file\n")
    (secrets / "cos_hmac_secret_access_key").write_text("  other  ")
    (secrets / "mqtt_url").write_text("mqtt://from-file")
    settings = load("cloud_saver", {"COS_HMAC_ACCESS_KEY_ID": None, "COS_HMAC_SECRET_ACCESS_KEY": "hush-env"})
    assert isinstance(settings, SaverSettings)
    assert settings.cos_hmac_access_key_id is not None
    assert settings.cos_hmac_secret_access_key is not None
    assert settings.cos_hmac_access_key_id.get_secret_value() == "from-file"
    assert settings.cos_hmac_secret_access_key.get_secret_value() == "hush-env"
    assert settings.mqtt_url is not None
    assert settings.mqtt_url.get_secret_value() == "mqtt://cloud"


def test_an_empty_variable_gives_way_to_a_secret_file(load: Load, tmp_path: Path) -> None:
    """Compose sets it to nothing where only the file is meant."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "cos_hmac_access_key_id").write_text("from-file")
    settings = load("cloud_saver", {"COS_HMAC_ACCESS_KEY_ID": ""})
    assert isinstance(settings, SaverSettings)
    assert settings.cos_hmac_access_key_id is not None
    assert settings.cos_hmac_access_key_id.get_secret_value() == "from-file"


def test_a_secret_file_that_is_no_text_is_told(load: Load, tmp_path: Path) -> None:
    """Without showing any of it."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "cos_hmac_access_key_id").write_bytes(b"hush\xff\xfe")
    (line,) = lines(load, "cloud_saver", {"COS_HMAC_ACCESS_KEY_ID": None})
    assert "cos_hmac_access_key_id" in line
    assert "no UTF-8 text" in line


def test_a_secret_file_that_cannot_be_read_is_told(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose keeps the owner and mode that it has on the host."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "cos_hmac_access_key_id").write_text("hush")
    read_text = Path.read_text

    def read(path: Path, **options: Any) -> str:
        if path.name == "cos_hmac_access_key_id":  # as root, nothing is unreadable by its mode
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", read)
    (line,) = lines(load, "cloud_saver", {"COS_HMAC_ACCESS_KEY_ID": None})
    assert "cos_hmac_access_key_id" in line
    assert "Permission denied" in line


def test_secrets_are_never_shown(load: Load) -> None:
    """In no representation of the settings."""
    for program in PROGRAMS:
        settings = load(program)
        assert "hush" not in f"{settings} {settings!r} {settings.model_dump()}"


def run(program: str, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", program, *args],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(env or {})},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_lists_every_variable(program: str) -> None:
    """With its default, and whether it is a secret."""
    shown = run(program, "--help")
    assert shown.returncode == 0
    for setting in PROGRAMS[program][0].listed():
        secret = ", secret" if setting.secret else ""
        assert f"  {setting.variable}  [{setting.default}{secret}]\n" in shown.stdout
        assert setting.description.split()[0] in shown.stdout
    assert {s.variable for s in PROGRAMS[program][0].listed()} == {n.upper() for n in PROGRAMS[program][0].model_fields}


@pytest.mark.parametrize("program", PROGRAMS)
def test_bad_settings_end_the_program_with_status_2(program: str) -> None:
    """A line for each on standard error, no traceback."""
    ended = run(program, env={"LOG_LEVEL": "loud"})
    assert ended.returncode == 2
    told = ended.stderr.splitlines()
    assert all(line.startswith(f"{program}: ") for line in told)
    missing = {name for name in PROGRAMS[program][1] if "HMAC" not in name}
    assert {line.split(": ")[1] for line in told} == missing | {"LOG_LEVEL"}


def test_a_saver_takes_from_mosquitto_or_from_a_cluster(load: Load) -> None:
    nodes = "amqp://a,amqps://user:hush@b:5673"
    settings = load("cloud_saver", {"MQTT_URL": None, "AMQP_URL": nodes, "SAVER_ID": "one"})
    assert isinstance(settings, SaverSettings)
    assert settings.amqp_url is not None
    assert [str(url) for url in amqp_urls(settings.amqp_url)] == ["amqp://a:5672", "amqps://b:5673"]
    assert settings.client_id == "cloud_saver-one"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"AMQP_URL": "amqp://a"}, "MQTT_URL, AMQP_URL: only one of them"),
        ({"MQTT_URL": None, "AMQP_URL": "mqtt://a"}, "AMQP_URL: must begin with amqp:// or amqps://"),
        (
            {"MQTT_URL": None, "AMQP_URL": "amqp://a,amqp://b:0"},
            "AMQP_URL: in URL 2 of 2: has a port",
        ),
        ({"MQTT_URL": None, "AMQP_URL": "amqp://a", "SAVER_GROUP": "g"}, "SAVER_GROUP: belongs to MQTT_URL"),
        (
            {"MQTT_URL": None, "AMQP_URL": "amqp://a", "MQTT_CA_FILE": "/dev/null"},
            "MQTT_CA_FILE: need TLS",
        ),
    ],
)
def test_what_does_not_go_with_a_cluster_is_named(load: Load, given: dict[str, str | None], line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load("cloud_saver", given)
    assert any(text.startswith(line) for text in refused.value.lines), refused.value.lines

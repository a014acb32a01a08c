"""`RETENTION_DAYS`: the store deletes by itself what is older; the rules are put there, read back and watched."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_saver import cli as commands
from cloud_saver.retention import watch
from dev.stack.s3 import S3Server
from tests.support.fake_http import Answer, FakeHttp, Request
from tests.support.programs import saver
from tests.support.stores import environment, running_moto, sdk, store_at

OTHER = {
    "ID": "somebody's",
    "Filter": {"And": {"Prefix": "backup/", "Tags": [{"Key": "a", "Value": "<&>"}]}},
    "Status": "Enabled",
    "Expiration": {"Days": 7},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
}
BOTH = {"facedetection-faces": "faces/", "facedetection-unrecognized": "unrecognized/"}


@pytest.fixture
def moto() -> Iterator[str]:
    with running_moto() as endpoint:
        yield endpoint


def retention(monkeypatch: pytest.MonkeyPatch, endpoint: str, days: int | None, *arguments: str, **keys: str) -> int:
    for name, value in environment(endpoint, **keys).items():
        monkeypatch.setenv(name, value)
    if days is not None:
        monkeypatch.setenv("RETENTION_DAYS", str(days))
    return commands.main(["retention", *(arguments or ["--yes"])])


def rules(endpoint: str) -> dict[str, Any]:
    """By id, as the SDK reads them."""
    return {rule["ID"]: rule for rule in sdk(endpoint).get_bucket_lifecycle_configuration(Bucket="faces")["Rules"]}


def give(endpoint: str, *given: dict[str, Any]) -> None:
    sdk(endpoint).put_bucket_lifecycle_configuration(Bucket="faces", LifecycleConfiguration={"Rules": [*given]})


def test_the_rules_are_put_there_and_read_back(
    moto: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And changed when the setting is, as often as one likes."""
    for days in (30, 7, 7):
        assert retention(monkeypatch, moto, days) == 0
        assert {name: rule["Filter"]["Prefix"] for name, rule in rules(moto).items()} == BOTH
        assert all(rule["Status"] == "Enabled" for rule in rules(moto).values())
        assert all(rule["Expiration"] == {"Days": days} for rule in rules(moto).values())
    said = capsys.readouterr().out.splitlines()
    assert "no rule of this program deletes anything" in said[0]
    assert said[1] == "done, and read back: faces/ is deleted after 30 days, unrecognized/ is deleted after 30 days"
    assert said[-1] == "as RETENTION_DAYS wants it"


def test_rules_of_others_stay_as_they_are(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When this program's come, and when they go."""
    give(moto, OTHER)
    assert retention(monkeypatch, moto, 30) == 0
    assert rules(moto)["somebody's"] == OTHER
    assert set(rules(moto)) == {"somebody's", *BOTH}
    assert retention(monkeypatch, moto, 0) == 0
    assert rules(moto) == {"somebody's": OTHER}


def test_without_a_rule_there_is_no_lifecycle(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 knows no empty one."""
    assert retention(monkeypatch, moto, 30) == 0
    assert retention(monkeypatch, moto, 0) == 0
    with pytest.raises(Exception, match="NoSuchLifecycleConfiguration"):
        rules(moto)


def test_old_versions_do_not_stay(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a bucket that keeps them, to expire is only to become one."""
    sdk(moto).put_bucket_versioning(Bucket="faces", VersioningConfiguration={"Status": "Enabled"})
    assert retention(monkeypatch, moto, 30) == 0
    assert {rule["NoncurrentVersionExpiration"]["NoncurrentDays"] for rule in rules(moto).values()} == {1}


@pytest.mark.parametrize(
    "change",
    [{"Status": "Disabled"}, {"Expiration": {"Days": 31}}, {"Filter": {"Prefix": "face/"}}, {"Filter": {"Prefix": ""}}],
    ids=str,
)
def test_a_rule_that_somebody_changed_is_set_right(
    change: dict[str, Any], moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retention(monkeypatch, moto, 30) == 0
    right = rules(moto)
    give(moto, right["facedetection-faces"] | change, right["facedetection-unrecognized"])
    assert retention(monkeypatch, moto, 30) == 0
    assert rules(moto) == right


def test_it_asks_first(moto: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is nobody to ask, nothing is done."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    for name, value in (environment(moto) | {"RETENTION_DAYS": "1"}).items():
        monkeypatch.setenv(name, value)
    assert commands.main(["retention"]) == 1
    assert "--yes" in capsys.readouterr().err
    with pytest.raises(Exception, match="NoSuchLifecycleConfiguration"):
        rules(moto)


def test_a_store_that_has_no_lifecycle_is_told(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As that of rclone, which answers with a list."""
    keys = {"access_key_id": s3.access_key_id, "secret_access_key": s3.secret_access_key}
    assert retention(monkeypatch, s3.endpoint, 30, **keys) == 1
    assert "the store has no lifecycle, but 'ListBucketResult': set RETENTION_DAYS=0" in capsys.readouterr().err


def test_rules_that_are_taken_and_forgotten_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is why they are read back."""
    with FakeHttp(lambda _request: Answer(200, b"<LifecycleConfiguration/>")) as fake:
        assert retention(monkeypatch, fake.url, 30) == 1
        assert "the store took the rules, but has others" in capsys.readouterr().err


def test_missing_rights_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def read_only(request: Request) -> Answer:
        if request.method == "GET":
            return Answer(404, b"<Error><Code>NoSuchLifecycleConfiguration</Code></Error>")
        return Answer(403, b"<Error><Code>AccessDenied</Code></Error>")

    with FakeHttp(read_only) as fake:
        assert retention(monkeypatch, fake.url, 30) == 1
        assert "the credentials may not change the lifecycle of COS_BUCKET faces" in capsys.readouterr().err


# The saver looks at its start


def test_the_saver_says_at_its_start_where_the_store_has_other_rules(moto: str, tmp_path: Path) -> None:
    """It changes none: a misprint in a setting must not delete a month of faces."""
    settings = {"RETENTION_DAYS": "30", **environment(moto)}
    with saver(tmp_path, "mqtt://127.0.0.1:9", moto, **settings) as program:
        line = program.expect_line("RETENTION_DAYS is 30, but in the bucket no rule of this program deletes anything")
        assert "`python -m cloud_saver retention`" in line


def look(endpoint: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said about a RETENTION_DAYS of 30."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "cloud_saver"):
        watch(store_at(endpoint), 30, lambda _seconds: False)
    return [record.getMessage() for record in caplog.records if record.name.startswith("cloud_saver")]


def test_nothing_is_said_of_the_right_rules(
    moto: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(look(moto, caplog)) == 1
    retention(monkeypatch, moto, 30)
    assert look(moto, caplog) == []


def test_rights_to_look_that_are_missing_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with FakeHttp(lambda _request: Answer(403)) as fake:
        (line,) = look(fake.url, caplog)
        assert "may not read the lifecycle of COS_BUCKET faces" in line


def test_a_store_that_is_not_there_yet_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """The saver says so itself."""
    answers = iter([Answer(503), Answer(500), Answer(200, b"welcome"), Answer(403)])
    with FakeHttp(lambda _request: next(answers)) as fake:
        assert len(look(fake.url, caplog)) == 1
        assert len(fake.requests) == 4


def test_waiting_for_a_store_ends_with_the_program(caplog: pytest.LogCaptureFixture) -> None:
    watch(store_at("http://127.0.0.1:9"), 30, lambda _seconds: True)
    assert caplog.records == []

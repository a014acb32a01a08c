"""Each image by itself."""

from __future__ import annotations

import time

import pytest

from cloud_gallery.password import hashed
from tests.containers.engine import CLOUD, EDGE, IMAGES, LABEL, PROGRAMS, docker, inspect, run
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("images")


@pytest.mark.parametrize("image", IMAGES)
def test_runs_as_a_user_of_its_own_even_without_compose(image: str) -> None:
    """The user is in the image, by number, so that an orchestrator can see that it is not root."""
    user, _, group = inspect(image)["Config"]["User"].partition(":")
    assert int(user) >= 10000
    assert int(group) >= 10000


@pytest.mark.parametrize("image", IMAGES)
def test_tells_its_health(image: str) -> None:
    assert inspect(image)["Config"]["Healthcheck"]["Test"]


@pytest.mark.parametrize("image", PROGRAMS)
def test_holds_no_package_manager_of_python_and_no_foreign_program(image: str) -> None:
    """What is not there cannot be used by who breaks in, and takes no space."""
    script = "command -v pip pip3; ls /app | grep -E '^(edge_|cloud_|local_|tests)'; true"
    assert docker("run", "--rm", "--entrypoint", "sh", image, "-c", script).split() == [image]


@pytest.mark.parametrize("image", [*EDGE, *CLOUD])
def test_what_is_put_on_top_of_alpine_s_packages_is_small(image: str, figures: list[str]) -> None:
    """At most 25 MB, so that a device behind a slow link can be given a new one. `demo_s3` is for trying things out."""
    layers = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", image)
    # The last line is the base's.
    own = sum(int(line.split()[0]) for line in layers.splitlines()[:-1] if "apk add" not in line)
    figures.append(f"image {image:<20} {own / 1e6:6.1f} MB on top of the packages")
    assert 0 < own <= 25e6


@pytest.mark.parametrize("image", PROGRAMS)
def test_holds_nothing_that_is_for_developers_only(image: str) -> None:
    """No tests, no stubs for type checkers, and nothing compiled twice."""
    script = "find /app -name tests -o -name '*.pyi' -o -name '*.opt-?.pyc' -o -path /app/bin"
    assert docker("run", "--rm", "--entrypoint", "sh", image, "-c", script) == ""


@pytest.mark.parametrize("image", ["edge_forwarder", "cloud_saver", "cloud_gallery"])
def test_only_the_detector_has_what_looks_at_pictures(image: str) -> None:
    """It is most of the detector's size."""
    script = "from importlib.util import find_spec; print(*filter(find_spec, ('cv2', 'numpy', 'boto3')))"
    assert docker("run", "--rm", "--entrypoint", "python3", image, "-c", script).split() == []


@pytest.mark.parametrize(
    ("image", "given", "said"),
    [
        ("edge_face_detection", {"MQTT_URL": "mqtt://edge_mqtt_broker"}, "EDGE_ID: is not set"),
        (
            "edge_forwarder",
            {"EDGE_ID": "e", "EDGE_MQTT_URL": "mqtt://a", "CLOUD_MQTT_URL": "http://b"},
            "CLOUD_MQTT_URL",
        ),
        (
            "cloud_saver",
            {
                "MQTT_URL": "mqtt://cloud_mosquitto",
                "COS_ENDPOINT": "https://s3.example.org",
                "COS_BUCKET": "faces",
                "COS_API_KEY_ID": "a-key",
                "COS_INSTANCE_CRN": "crn",
                "COS_HMAC_ACCESS_KEY_ID": "another-key",
                "COS_HMAC_SECRET_ACCESS_KEY": "a-secret",
            },
            "COS_API_KEY_ID, COS_HMAC_ACCESS_KEY_ID: both kinds of credentials are set",
        ),
        (
            "cloud_gallery",
            {
                "MQTT_URL": "mqtt://cloud_mosquitto",
                "COS_ENDPOINT": "https://s3.example.org",
                "COS_BUCKET": "faces",
                "COS_HMAC_ACCESS_KEY_ID": "a-key",
                "COS_HMAC_SECRET_ACCESS_KEY": "a-secret",
            },
            "GALLERY_PASSWORD: is not set, and others can reach the page; put what `python3 -m cloud_gallery password`",
        ),
    ],
)
def test_a_wrong_setting_ends_it_with_status_2_and_a_line(image: str, given: dict[str, str], said: str) -> None:
    """The line names the variable, and no secret."""
    options = [part for name, value in given.items() for part in ("--env", f"{name}={value}")]
    ended = run("docker", "run", "--rm", "--network", "none", *options, image, ok=(2,))
    assert f"{image}: {said}" in ended.stderr.decode()
    assert "a-secret" not in ended.stderr.decode()


def test_a_secret_may_come_as_a_file() -> None:
    """Which only the container's user can read; the settings are then complete, and the saver starts."""
    script = (
        "umask 077; printf demo-access-key > /run/secrets/cos_hmac_access_key_id;"
        " printf demo-secret-key > /run/secrets/cos_hmac_secret_access_key; exec python3 -m cloud_saver"
    )
    environment = {
        "MQTT_URL": "mqtt://nowhere.invalid",
        "COS_ENDPOINT": "http://nowhere.invalid",
        "COS_BUCKET": "faces",
    }
    options = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    secrets = ("--tmpfs", "/run/secrets:uid=10001,mode=700", "--label", LABEL, "--network", "none")
    name = docker("run", "--detach", *secrets, *options, "--entrypoint", "sh", "cloud_saver", "-c", script).strip()
    try:
        eventually(
            lambda: "started: faces go to bucket" in run("docker", "logs", name).stderr.decode(), what="no start"
        )
    finally:
        docker("rm", "--force", name)


@pytest.mark.parametrize("image", PROGRAMS)
def test_a_stop_right_after_the_start_is_heard(image: str) -> None:
    """A signal that came before Python had a handler for it would be waited for until Docker lost its patience."""
    settings = {
        "EDGE_ID": "e",
        "MQTT_URL": "mqtt://nowhere.invalid",
        "EDGE_MQTT_URL": "mqtt://nowhere.invalid",
        "CLOUD_MQTT_URL": "mqtt://elsewhere.invalid",
        "VIDEO_SOURCE": "rtsp://nowhere.invalid/",
        "COS_ENDPOINT": "http://nowhere.invalid",
        "COS_BUCKET": "faces",
        "COS_HMAC_ACCESS_KEY_ID": "key",
        "COS_HMAC_SECRET_ACCESS_KEY": "secret",
        "GALLERY_PASSWORD": hashed("a password"),
    }
    options = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
    name = docker("run", "--detach", "--label", LABEL, "--network", "none", *options, image).strip()
    try:
        begin = time.monotonic()
        docker("stop", "--time", "30", name)
        assert time.monotonic() - begin < 10
        # 143: ended by the signal itself, as there was nothing to bring to an end yet.
        assert inspect(name)["State"]["ExitCode"] in (0, 143)
    finally:
        docker("rm", "--force", name)

"""What the compose files ask for, as compose itself understands them; no engine is needed for it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.engine import EDGE as EDGE_SERVICES
from tests.containers.engine import FILES, ROOT, compose, run

EDGE = "docker-compose.edge.yml"
CLOUD = "docker-compose.cloud.yml"
COMBINATIONS = (
    (EDGE,),
    (EDGE, "compose/camera.yml"),
    (EDGE, "compose/camera.yml", "compose/preview.yml"),
    (CLOUD,),
    (CLOUD, "compose/insecure.yml"),
    FILES,
)


def services(*files: str, env: str = os.devnull, profiles: tuple[str, ...] = ()) -> dict[str, Any]:
    config = json.loads(compose("config", "--format", "json", files=files, env=env, profiles=profiles))
    found: dict[str, Any] = config["services"]
    return found


@pytest.mark.parametrize("files", COMBINATIONS, ids=" ".join)
def test_containers_carry_the_folder_s_name_and_use_one_network(files: tuple[str, ...]) -> None:
    config = json.loads(compose("config", "--format", "json", files=files))
    assert config["networks"]["hw03"]["name"] == "hw03"
    for name, service in config["services"].items():
        assert service["container_name"] == name
        assert name == "demo_clip" or list(service["networks"]) == ["hw03"]
        assert name == "demo_clip" or any((folder / name).is_dir() for folder in (ROOT, ROOT / "dev"))


ALL = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("docker-compose.*.yml"), *ROOT.glob("compose/*.yml")))


@pytest.mark.parametrize("file", ALL)
def test_files_suit_compose_of_any_age(file: str) -> None:
    """`version:` is obsolete, and `name:` is unknown to the first compose v2 releases."""
    assert not [line for line in (ROOT / file).read_text().splitlines() if line.startswith(("version:", "name:"))]


def test_savers_may_be_several_where_that_is_asked_for() -> None:
    """A container's name would keep compose from starting a second one, and without a group each would take all."""
    saver = services(CLOUD, "compose/savers.yml")["cloud_saver"]
    assert "container_name" not in saver
    assert saver["environment"]["SAVER_GROUP"] == "savers"


def test_no_port_is_published_but_the_one_that_wants_a_certificate() -> None:
    """On 1883 neither broker wants even a password, so neither may be reached from outside by accident."""
    for files in COMBINATIONS:
        ports = [
            (name, port["published"]) for name, service in services(*files).items() for port in service.get("ports", [])
        ]
        expected = [("cloud_mosquitto", "8883")] if CLOUD in files else []
        expected += [("cloud_mosquitto", "1883")] if "compose/insecure.yml" in files else []
        expected += [("edge_face_detection", "9100")] if "compose/preview.yml" in files else []
        assert sorted(ports) == sorted(expected)


def test_page_and_figures_are_published_to_this_host_alone() -> None:
    """Unless, of the page, which wants a password, something else is asked for."""
    beyond = services(CLOUD, profiles=("gallery", "monitoring"))
    assert beyond.keys() - services(CLOUD).keys() == {"cloud_gallery", "prometheus", "grafana"}
    ports = {
        (name, port["published"], port["host_ip"])
        for name in beyond
        for port in beyond[name].get("ports", ())
        if name not in services(CLOUD)
    }
    assert ports == {
        (name, port, "127.0.0.1")
        for name, port in (("cloud_gallery", "8080"), ("prometheus", "9090"), ("grafana", "3000"))
    }


def test_profiles_may_be_named_in_the_settings(tmp_path: Path) -> None:
    """So that they are part of every `up` and of the weekly renewal of the images."""
    env = tmp_path / "env"
    env.write_text("COMPOSE_PROFILES=gallery,monitoring\nGALLERY_ADDRESS=10.8.0.1\nGALLERY_SECRETS=./secrets/other\n")
    named = services(CLOUD, env=str(env))
    assert named.keys() >= {"cloud_gallery", "prometheus", "grafana"}
    assert named["cloud_gallery"]["ports"][0]["host_ip"] == "10.8.0.1"
    assert [volume["source"] for volume in named["cloud_gallery"]["volumes"]] == [str(ROOT / "secrets/other")]


@pytest.mark.parametrize("names", ["HTTPS_PROXY NO_PROXY", "https_proxy no_proxy"])
def test_programs_that_leave_the_host_get_its_proxy_and_nobody_else(tmp_path: Path, names: str) -> None:
    """A proxy in everybody's environment would catch what stays inside."""
    env = tmp_path / "env"
    https, none = names.split()
    env.write_text(f"{https}=http://proxy:3128\n{none}=example.org\n")
    named = services(EDGE, env=str(env)) | services(CLOUD, env=str(env), profiles=("gallery", "monitoring"))
    told = {name for name, service in named.items() if "HTTPS_PROXY" in (service.get("environment") or {})}
    assert told == {"edge_forwarder", "cloud_saver", "cloud_gallery"}
    for name in told:
        environment = named[name]["environment"]
        assert (environment["HTTPS_PROXY"], environment["NO_PROXY"]) == ("http://proxy:3128", "example.org")
    assert not any("HTTP_PROXY" in (service.get("environment") or {}) for service in named.values())


def test_prometheus_asks_services_that_there_are() -> None:
    """On the port on which programs in containers show their figures."""
    jobs = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text())["scrape_configs"]
    asked = [(name, found["port"]) for job in jobs for found in job["dns_sd_configs"] for name in found["names"]]
    assert asked == [("cloud_saver", 9100), ("cloud_gallery", 9100)]
    assert {name for name, _ in asked} <= services(CLOUD, profiles=("gallery",)).keys()


def test_the_preview_is_published_to_this_host_alone() -> None:
    """It shows what the camera sees."""
    files = (EDGE, "compose/preview.yml")
    assert {name: service["ports"] for name, service in services(*files).items() if "ports" in service} == {
        "edge_face_detection": [
            {"host_ip": "127.0.0.1", "mode": "ingress", "protocol": "tcp", "published": "9100", "target": 9100}
        ]
    }
    assert services(*files)["edge_face_detection"]["environment"]["PREVIEW"] == "true"
    assert not services(EDGE)["edge_face_detection"]["environment"].get("PREVIEW")


def test_a_second_camera_differs_in_nothing_but_what_is_its_own() -> None:
    """The same limits and rights, another name, device, and outbox."""
    detectors = services(EDGE, "compose/camera.yml", "compose/cameras.yml")
    one, other = detectors["edge_face_detection"], detectors["edge_face_detection_2"]
    differs = {key for key in one | other if one.get(key) != other.get(key)}
    assert differs - {"depends_on"} == {"container_name", "devices", "environment", "volumes"}
    assert other["container_name"] == "edge_face_detection_2"
    assert [device["source"] for device in (*one["devices"], *other["devices"])] == ["/dev/video0", "/dev/video1"]
    changed = dict(other["environment"].items() - one["environment"].items())
    assert changed == {"CAMERA_ID": "camera1"}
    for volumes in zip(*(sorted(each["volumes"], key=lambda v: v["target"]) for each in (one, other)), strict=True):
        assert volumes[0]["target"] == volumes[1]["target"]
        assert volumes[0]["source"] != volumes[1]["source"]
    assert {volume["target"] for volume in other["volumes"]} == {"/run/secrets", "/var/lib/facedetection"}


def test_the_camera_is_handed_over_by_its_override_only() -> None:
    """A device that is not there would keep the detector from starting."""
    assert "devices" not in services(EDGE)["edge_face_detection"]
    detector = services(EDGE, "compose/camera.yml")["edge_face_detection"]
    assert detector["devices"][0]["target"] == "/dev/video0"
    assert detector["environment"]["VIDEO_SOURCE"] == "/dev/video0"
    assert detector["group_add"] == ["44"]


def test_a_camera_that_may_change_its_number_is_found_by_name_and_nothing_else_is_opened(tmp_path: Path) -> None:
    """The devices of the host are seen, but only cameras (81 is Video4Linux) may be opened."""
    env = tmp_path / "env"
    env.write_text("VIDEO_DEVICE=/dev/v4l/by-id/usb-camera\n")
    detector = services(EDGE, "compose/replug.yml", env=str(env))["edge_face_detection"]
    assert detector["environment"]["VIDEO_SOURCE"] == "/dev/v4l/by-id/usb-camera"
    assert detector["device_cgroup_rules"] == ["c 81:* rw"]
    assert [v["read_only"] for v in detector["volumes"] if v["target"] == "/dev"] == [True]
    assert not detector.get("privileged")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh clone, as far as compose looks at it."""
    shutil.copytree(ROOT / "compose", tmp_path / "checkout/compose")
    for file in ROOT.glob("docker-compose.*.yml"):
        shutil.copy(file, tmp_path / "checkout")
    return tmp_path / "checkout"


def started_in(checkout: Path, *options: str) -> dict[str, Any]:
    """The services of a bare `docker compose` in this folder."""
    done = run("docker", "compose", *options, "config", "--format", "json", cwd=checkout)
    assert b"WARN" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def test_with_the_edge_s_example_a_bare_command_starts_the_edge_with_its_camera(checkout: Path) -> None:
    shutil.copy(ROOT / ".env.edge.example", checkout / ".env")
    edge = started_in(checkout)
    assert edge.keys() == set(EDGE_SERVICES)
    assert edge["edge_face_detection"]["devices"]


def test_with_the_cloud_s_example_a_bare_command_starts_the_cloud(checkout: Path) -> None:
    shutil.copy(ROOT / ".env.cloud.example", checkout / ".env")
    assert started_in(checkout).keys() == {"cloud_mosquitto", "cloud_saver"}


def test_both_hosts_may_be_one(checkout: Path) -> None:
    """As docs/deployment.md has it: both examples' settings in one file."""
    (line,) = [line for line in (ROOT / "docs/deployment.md").read_text().splitlines() if line.startswith("| both on")]
    both = "".join((ROOT / f".env.{name}.example").read_text() for name in ("edge", "cloud"))
    (checkout / ".env").write_text(f"{both}\nCOMPOSE_FILE={line.split('`')[1]}\n")
    assert started_in(checkout).keys() == {*EDGE_SERVICES, "cloud_mosquitto", "cloud_saver"}


def test_files_that_are_named_in_a_command_replace_those_in_the_settings(checkout: Path) -> None:
    """So `docker compose -f docker-compose.cloud.yml up` means the same everywhere."""
    shutil.copy(ROOT / ".env.edge.example", checkout / ".env")
    assert started_in(checkout, "-f", CLOUD).keys() == {"cloud_mosquitto", "cloud_saver"}
    assert "devices" not in started_in(checkout, "-f", EDGE)["edge_face_detection"]
    demo = started_in(checkout, *(part for file in FILES for part in ("-f", file)))
    assert demo.keys() == {*EDGE_SERVICES, "cloud_mosquitto", "cloud_saver", "demo_s3", "demo_clip"}


def test_the_folder_of_the_secrets_may_be_missing(checkout: Path) -> None:
    """A clone has none: the engine makes it."""
    for files in ((EDGE,), (CLOUD,)):
        found = started_in(checkout, "--profile", "gallery", *(part for file in files for part in ("-f", file)))
        binds = [
            volume for service in found.values() for volume in service.get("volumes", []) if "secrets" in str(volume)
        ]
        assert binds
        assert all(volume["bind"]["create_host_path"] for volume in binds)


@pytest.mark.parametrize("name", ["edge", "cloud"])
def test_the_example_of_the_settings_knows_only_variables_that_are_used(name: str) -> None:
    """A misspelt one would be silently ignored."""
    used = "".join((ROOT / file).read_text() for file in ALL)
    lines = (line.removeprefix("#") for line in (ROOT / f".env.{name}.example").read_text().splitlines())
    named = [line.partition("=")[0] for line in lines if "=" in line and line.partition("=")[0].isupper()]
    assert named
    of_compose = {"COMPOSE_FILE", "COMPOSE_PROFILES"}
    assert [variable for variable in named if f"${{{variable}:-" not in used and variable not in of_compose] == []


def test_what_a_person_has_set_for_the_real_stacks_does_not_reach_the_demo() -> None:
    """Neither a real bucket nor real credentials: the demo writes into its own only, and shows no other."""
    demo = services(*FILES, profiles=("gallery",))
    for program in (demo["cloud_saver"], demo["cloud_gallery"]):
        assert program["environment"]["COS_ENDPOINT"] == "http://demo-s3:9000"
        assert program["environment"]["COS_API_KEY_ID"] == ""
        assert [volume["type"] for volume in program["volumes"] if volume["target"] == "/run/secrets"] == ["tmpfs"]

"""A real Prometheus that scrapes the running programs, with the configuration, rules and dashboard as shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dev.stack.clip import make_clip
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from tests.support.cloud_broker import CloudBroker
from tests.support.gallery import Gallery
from tests.support.metrics import ROOT, documented, used
from tests.support.programs import Program, forwarder, saver
from tests.support.prometheus import Prometheus, promtool
from tests.support.waiting import eventually

MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARD = MONITORING / "grafana/dashboards/faces.json"

Programs = dict[str, Program]


# One run of everything for all tests, which leave it as it was.
pytestmark = pytest.mark.xdist_group("prometheus")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prometheus")


@pytest.fixture(scope="module")
def programs(folder: Path) -> Iterator[Programs]:
    """Detector, forwarder, saver and gallery, with an edge that is enrolled and faces that keep coming."""
    clip = folder / "clip.avi"
    make_clip(clip, seconds=4, size=(320, 240))
    store = S3Server(folder / "s3")
    with ExitStack() as stack:
        stack.enter_context(store)
        edge_broker = stack.enter_context(Mosquitto(folder / "broker"))
        cloud = stack.enter_context(CloudBroker(folder / "cloud"))
        bundle = cloud.enrol("tx2")
        camera = {"VIDEO_SOURCE": str(clip), "VIDEO_LOOP": "true", "EDGE_ID": "tx2", "CAMERA_ID": "door"}
        outbox = {"MQTT_URL": edge_broker.url, "OUTBOX_PATH": str(folder / "detector.db")}
        made = {
            "saver": saver(folder, cloud.url, store),
            "forwarder": forwarder(folder, edge_broker.url, cloud.outside_url, **bundle.settings),
            "detector": Program("edge_face_detection", folder, camera | outbox),
            "gallery": Gallery(folder, cloud.url, store),
        }
        for program in made.values():
            stack.enter_context(program)
        made["saver"].expect("edge_camera_up", 1)
        eventually(lambda: "camera_last_face" in made["saver"].ask("/metrics")[1], what="no face is told of")
        yield made


def families(program: Program) -> set[str]:
    """The names of its metrics; counters with `_total`, as they are asked for."""
    shown = text_string_to_metric_families(program.ask("/metrics")[1])
    return {family.name + ("_total" if family.type == "counter" else "") for family in shown}


def test_figures_are_named_well_and_all_of_them_are_documented(programs: Programs) -> None:
    """By promtool's rules; and docs/metrics.md names no others."""
    for name, program in programs.items():
        done = promtool("check", "metrics", given=program.ask("/metrics")[1])
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert {each for each in families(program) if each.startswith("facedetection_")} == documented(name)


def shipped(text: str, *changes: tuple[str, str]) -> str:
    """A file of the repository with other places and shorter times."""
    for there, here in changes:
        assert len(re.findall(there, text)) >= 1, there
        text = re.sub(there, here, text)
    return text


@pytest.fixture(scope="module")
def prometheus(programs: Programs, folder: Path) -> Iterator[Prometheus]:
    rules = folder / "alerts.yml"
    rules.write_text(shipped((ROOT / "docs/alerts.yml").read_text(), (r"> 60\b", "> 12"), ("for: [12]m", "for: 1s")))
    target = f"static_configs: [{{targets: ['127.0.0.1:{programs['saver'].metrics_port}']}}]"
    config = shipped(
        (MONITORING / "prometheus.yml").read_text(),
        ("_interval: 10s\n", "_interval: 1s\n"),
        ("/etc/prometheus/alerts.yml", str(rules)),
        (r"dns_sd_configs:\n *- \{names: \[cloud_saver\].*", target),
    )
    with Prometheus(folder, config) as running:
        yield running


def test_an_edge_that_falls_silent_is_told_of(programs: Programs, prometheus: Prometheus) -> None:
    """Killed, so that it cannot say a word; nothing fires before, and nothing when it is back."""
    eventually(lambda: prometheus.value('up{job="cloud_saver"}') == 1, what="the saver is not scraped")
    eventually(lambda: prometheus.value('facedetection_edge_up{edge="tx2"}') == 1, what="the edge is not up")
    eventually(lambda: prometheus.firing() == set(), what=lambda: str(prometheus.ask("alerts")))
    programs["forwarder"].kill()
    eventually(lambda: prometheus.value('facedetection_edge_up{edge="tx2"}') == 0, what="it is still up")
    eventually(lambda: prometheus.firing() == {"EdgeSilent"}, what=lambda: str(prometheus.ask("alerts")))
    programs["forwarder"].start()
    eventually(lambda: prometheus.firing() == set(), what=lambda: str(prometheus.ask("alerts")))


def monitoring() -> dict[str, Any]:
    """The services of that profile, by name."""
    services = yaml.safe_load((ROOT / "docker-compose.cloud.yml").read_text())["services"]
    return {name: service for name, service in services.items() if service.get("profiles") == ["monitoring"]}


def test_the_containers_listen_to_this_host_alone_and_find_their_files() -> None:
    """They ask for no password."""
    assert set(monitoring()) == {"prometheus", "grafana"}
    for service in monitoring().values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        files = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith(".")]
        assert files
        assert all((ROOT / file).exists() for file in files)
        assert service["read_only"] is True


def expressions() -> list[tuple[str, str]]:
    """Title and expression of each query on the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def test_the_dashboard_shows_something_in_each_panel(prometheus: Prometheus) -> None:
    """While all is well; each query is one that Prometheus understands."""
    for title, expression in expressions():
        has_a_value = partial(prometheus.value, f"count({expression})")
        eventually(has_a_value, what=f"{title}: nothing for {expression}")


def test_the_dashboard_asks_for_nothing_that_does_not_exist() -> None:
    assert {name for _, expression in expressions() for name in used(expression)} <= documented()


def test_the_dashboard_is_where_grafana_looks_for_it() -> None:
    """And asks the source of data that is provisioned beside it."""
    board = json.loads(DASHBOARD.read_text())
    provisioning = MONITORING / "grafana/provisioning"
    (uid,) = re.findall(r"uid: (\w+)", (provisioning / "datasources/prometheus.yml").read_text())
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {uid}
    (path,) = re.findall(r"path: ([\w/]+)", (provisioning / "dashboards/files.yml").read_text())
    assert f"./deploy/monitoring/grafana/dashboards:{path}:ro" in monitoring()["grafana"]["volumes"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])

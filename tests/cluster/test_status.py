"""Status, health and pause at a cluster, which sends no retained message to who listens with wildcards."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from dev.stack import cluster as nodes
from tests.support.gallery import Gallery
from tests.support.plain import listening, plain_client, publish
from tests.support.site import Site, put
from tests.support.waiting import eventually


def events(gallery: Gallery) -> Generator[tuple[str, dict[str, object]]]:
    """What the page is told, for half a minute at most."""
    connection = http.client.HTTPConnection("127.0.0.1", gallery.port, timeout=30)
    connection.request("GET", "/events", headers={"Host": "localhost"})
    deadline, kind = time.monotonic() + 30, ""
    with closing(connection), connection.getresponse() as answer:
        while time.monotonic() < deadline:
            name, _, value = answer.readline().decode().strip().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)


def test_the_gallery_shows_edges_savers_and_each_face(site: Site, tmp_path: Path) -> None:
    """It comes last: what was said before it came is said again within 10 s."""
    site.saver()
    site.forwarder()
    (tmp_path / "gallery").mkdir()
    urls = ",".join(f"mqtt://{address}:1883" for address in nodes.ADDRESSES)
    with Gallery(tmp_path / "gallery", urls, site.s3) as gallery:
        gallery.expect("cloud_broker_up", 1)
        faces: set[str] = set()
        seen: set[str] = set()
        sent = None
        told_events = events(gallery)
        for kind, told in told_events:
            if kind == "face":
                faces.add(str(told["key"]))
            elif kind == "health":
                # The page listens now.
                sent = sent or put(site.detector(), site.faces(1))
                every = [*told["edges"], *told["savers"]]  # type: ignore[misc] # lists of programs
                seen |= {each["name"] for each in every if each["state"] == "online" and "health" in each}
            if faces and {site.edge_id, "cloud_saver-a"} <= seen:
                break
        told_events.close()
        assert {site.edge_id, "cloud_saver-a"} <= seen
        assert sent is not None
        site.expect_all(sent)
        assert faces == set(site.s3.objects())


def test_each_saver_shows_all_edges(site: Site) -> None:
    savers = [site.saver(name) for name in ("a", "b")]
    forwarder = site.forwarder()
    up = f'facedetection_edge_up{{edge="{site.edge_id}"}}'

    def all_show(value: str) -> bool:
        return all(f"{up} {value}" in saver.ask("/metrics")[1] for saver in savers)

    eventually(lambda: all_show("1.0"), what="the edge is not shown")
    forwarder.terminate()
    eventually(lambda: all_show("0.0"), what="the edge is shown as up")


def test_a_camera_is_paused_from_the_cloud_whether_its_edge_is_there_or_not(site: Site) -> None:
    topic = f"facedetection_control/{site.edge_id}/door"
    with listening(site.edge_broker.port, topic) as at_the_edge:
        forwarder = site.forwarder()
        with plain_client(1883, host=nodes.ADDRESSES[2]) as operator:
            publish(operator, topic, b"pause", retain=True)
            eventually(lambda: at_the_edge.payloads == [b"pause"], what="no pause at the edge")
            forwarder.terminate()
            publish(operator, topic, b"resume", retain=True)
            forwarder.start()
            eventually(lambda: at_the_edge.payloads == [b"pause", b"resume"], what="what was said meanwhile is lost")

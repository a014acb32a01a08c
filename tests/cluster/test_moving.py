"""An edge moves from one VM with Mosquitto to the cluster while faces come in, as docs/cluster.md tells."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.stack.bundle import Bundle
from tests.support.cloud_broker import CloudBroker
from tests.support.programs import BUCKET, Program, forwarder, saver
from tests.support.site import Faces, Site, put
from tests.support.waiting import at_least, eventually


def test_no_face_is_lost_or_stored_twice_on_the_way_to_the_cluster_and_back(site: Site, tmp_path: Path) -> None:
    """Each time the store stands still, so that both sides hold faces, and some of these are the same."""
    vm = CloudBroker(tmp_path / "vm")
    volume = site.cluster.run(
        "docker", "exec", "cloud_identities", "tar", "-C", "/var/lib/cloud_mosquitto", "-cf-", "."
    )
    with tarfile.open(fileobj=io.BytesIO(volume)) as tar:
        tar.extractall(vm.pki, filter="data")
    (tmp_path / "at-the-vm").mkdir()
    with vm, saver(tmp_path / "at-the-vm", vm.url, site.s3) as at_the_vm, flowing(site) as faces:
        at_the_vm.expect("cloud_broker_up", 1)
        at_the_cluster = site.saver()
        old = started(site, vm.outside_url, site.bundle)
        at_least(lambda: len(site.s3.objects(BUCKET)), 10)
        assert at_the_cluster.figure("objects_stored_total") == 0

        renewed = site.cluster.enrol(site.edge_id, "renew")
        both = started(site, f"{site.cluster.mqtt_urls},{vm.outside_url}", renewed, after=old, held_by=at_the_vm)
        moved(site, away_from=at_the_vm, to=at_the_cluster)

        back = started(site, vm.outside_url, renewed, after=both, held_by=at_the_cluster)
        moved(site, away_from=at_the_cluster, to=at_the_vm)

        started(site, site.cluster.mqtt_urls, renewed, after=back, held_by=at_the_vm)
        moved(site, away_from=at_the_vm, to=at_the_cluster)
        at_the_vm.terminate()
        vm.terminate()
        at_least(lambda: len(site.s3.objects(BUCKET)), len(faces) + 10)
    site.expect_all(faces)


@contextmanager
def flowing(site: Site) -> Iterator[Faces]:
    """A detector's faces, twenty a second, as many as have come so far."""
    detector, faces, is_over = site.detector(), Faces(), threading.Event()

    def make() -> None:
        while not is_over.wait(0.05):
            faces.extend(put(detector, site.faces(1)))

    maker = threading.Thread(target=make)
    maker.start()
    try:
        yield faces
    finally:
        is_over.set()
        maker.join()


def started(
    site: Site, urls: str, bundle: Bundle, *, after: Program | None = None, held_by: Program | None = None
) -> Program:
    """The edge's forwarder with this bundle; it goes on with the outbox of the one before, which ends."""
    following = forwarder(site.folder, site.edge_broker.url, urls, EDGE_ID=site.edge_id, **bundle.settings)
    if after is not None and held_by is not None:
        site.s3.pause()
        at_least(lambda: held_by.figure("messages_held"), 5)
        after.terminate()
        assert held_by.figure("messages_held") > 0
    site.start(following)
    following.expect("cloud_broker_up", 1)
    return following


def moved(site: Site, *, away_from: Program, to: Program) -> None:
    """What was held at the old place is stored, and what comes goes the new way."""
    at_least(lambda: to.figure("messages_held"), 5)
    site.s3.resume()
    away_from.expect("messages_held", 0)
    off = f'facedetection_edge_up{{edge="{site.edge_id}"}} 0.0'
    eventually(lambda: off in away_from.ask("/metrics")[1], what="the edge is not shown as off at the old place")
    stored = to.figure("objects_stored_total")
    at_least(lambda: to.figure("objects_stored_total"), stored + 5)

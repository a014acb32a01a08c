"""A long outage, made short: the cloud's broker is gone while faces come in, and then it is back."""

from __future__ import annotations

from pathlib import Path

from dev.stack.figures import stored_faces
from dev.stack.s3 import S3Server
from tests.conftest import StartBroker
from tests.support.outage import HASTY, feed
from tests.support.parts import MIB, SendingSide, TakingSide
from tests.support.programs import BUCKET, forwarder, saver
from tests.support.waiting import at_least


def test_the_forwarders_memory_does_not_grow_with_the_backlog(tmp_path: Path, start_broker: StartBroker) -> None:
    """Of 120 MB that wait on disk, the later 90 MB take up less than 15 MB of memory; and then all arrive."""
    edge, cloud = start_broker(), start_broker()
    cloud.kill()
    program = forwarder(tmp_path, edge.url, cloud.url, **HASTY)
    with program, SendingSide(edge.url, tmp_path / "detector.db", client_id="tx2-cam0") as detector:
        ids = feed(detector, 1500, size=20_000)
        rss = program.rss_bytes()
        ids += feed(detector, 4500, size=20_000)
        assert program.figure("outbox_messages") == 6000
        assert program.rss_bytes() - rss < 15 * MIB
        cloud.start()
        with TakingSide(cloud.url) as keeper:
            program.expect("outbox_confirmed_total", 6000)
            assert {message.correlation_data for message in keeper.messages} == {id_.encode() for id_ in ids}
        assert program.peak_rss_bytes() - rss < 25 * MIB


def test_a_backlog_goes_oldest_first_and_a_live_face_passes_it(
    tmp_path: Path, start_broker: StartBroker, s3: S3Server
) -> None:
    """Faces that come when the cloud is back are stored while most of what has gathered still waits."""
    edge, cloud = start_broker(), start_broker()
    fast = HASTY
    forwarding = forwarder(tmp_path, edge.url, cloud.url, SEND_WINDOW="64", **fast)
    saving = saver(tmp_path, cloud.url, s3, **fast)

    def stored() -> list[str]:
        """Ids, in the order in which they were stored."""
        objects = s3.objects(BUCKET)
        order = dict(zip((face.id for face in stored_faces(objects)), objects.values(), strict=True))
        return sorted(order, key=lambda id_: order[id_].stat().st_mtime_ns)

    with forwarding, saving, SendingSide(edge.url, tmp_path / "detector.db", client_id="tx2-cam0") as detector:
        saving.expect("cloud_broker_up", 1)
        cloud.kill()
        backlog = feed(detector, 2000, size=2000)
        cloud.start()
        at_least(lambda: saving.figure("objects_stored_total"), 1)
        live = feed(detector, 3, size=2000)
        saving.expect("objects_stored_total", 2003, within=60)
    places = {id_: place for place, id_ in enumerate(stored())}
    assert max(places[id_] for id_ in live) < 1000
    # Of those on their way at the same time, any may be the first.
    assert all(abs(places[id_] - place) < 2 * 64 for place, id_ in enumerate(backlog))

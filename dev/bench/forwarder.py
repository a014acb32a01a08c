"""Messages/s from an edge broker's queue to a cloud broker: the forwarder, with its outbox on disk, beside a bridge.

Each measurement has brokers of its own. The edge broker's queue is filled while nothing takes from it; then it, or
the cloud broker for the bridge, is let go, and the clock runs from the first message that arrives behind the cloud
broker to the last. So neither the feeder nor the start of a program is in the figures. The bridge is Mosquitto's
own, inside the edge broker, with a window of 1000; it keeps nothing on disk, and its messages are lost when a broker
is killed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from dev.bench.keeper import Keeper
from dev.bench.measure import CpuMeter, Figures, Scale, Table, by_turns, in_and_out, middle, ratio
from dev.bench.traffic import EDGE_ID, PAYLOAD_BYTES, broker, connected_to, feed, fill_queue, program
from dev.stack.mosquitto import Mosquitto
from face_messages.message import TOPIC

OURS, BRIDGE, LIMIT = "edge_forwarder", "Mosquitto bridge", "counter alone"
ON_DISK = "edge_forwarder, each on disk"


def run(scale: Scale, folder: Path, *, images: bool = False) -> list[Table]:
    ours = in_and_out(OURS, lambda: _forwarder(folder, scale.messages), images=images)
    on_disk = in_and_out(ON_DISK, lambda: _forwarder(folder, scale.messages, receipts=False), images=images)
    measured = by_turns(
        "forwarder",
        scale.rounds,
        {
            **ours,
            **on_disk,
            BRIDGE: lambda: _bridge(folder, scale.messages),
            LIMIT: lambda: _counter(folder, scale.messages),
        },
        show="rate",
    )
    bridge, limit = measured[BRIDGE], measured[LIMIT]
    fed = bridge + [figures for name in ours for figures in measured[name]]
    rows = [
        *(
            [
                name,
                middle(measured[name], "rate"),
                ratio(measured[name], bridge, "rate"),
                *(middle(measured[name], f"cpu_{part}", 3) for part in ("forwarder", "edge", "cloud", "keeper")),
                middle(measured[name], "rss"),
            ]
            for name in (*ours, *on_disk)
        ),
        [
            BRIDGE,
            middle(bridge, "rate"),
            "1",
            "in the edge broker",
            *(middle(bridge, f"cpu_{name}", 3) for name in ("edge", "cloud", "keeper")),
            "",
        ],
        [LIMIT, middle(limit, "rate"), ratio(limit, bridge, "rate"), "", "", middle(limit, "cpu_cloud", 3), "", ""],
    ]
    header = ["", "messages/s", "of the bridge's", "CPU ms/message: forwarder", "edge broker", "cloud broker"]
    return [
        Table(
            title="Forwarder",
            about=f"{scale.messages:,} face events of {PAYLOAD_BYTES:,} bytes, QoS 1, from the edge broker's queue to a"
            f" counter behind the cloud broker; medians of {scale.rounds} rounds by turns, ratios with their range.",
            header=[*header, "counter", "peak RSS, MiB"],
            rows=rows,
            notes=[
                "The counter sends receipts, which the forwarder waits for; the bridge needs none.",
                "*each on disk*: of messages that want no receipt, as nobody else has them; else if the cloud is slow.",
                f"The queue was filled at {middle(fed, 'fed')} messages/s before the clock started.",
                "*counter alone*: the same counter fed from a queue of the cloud broker; nothing can be faster.",
            ],
        )
    ]


def _forwarder(parent: Path, count: int, *, receipts: bool = True) -> Figures:
    with _place(parent) as folder, broker("cloud", folder) as cloud, broker("edge", folder) as edge:
        forwarder = program(
            "edge_forwarder",
            folder,
            EDGE_ID=EDGE_ID,
            EDGE_MQTT_URL=edge.url,
            CLOUD_MQTT_URL=cloud.url,
            OUTBOX_PATH=str(folder / "outbox.db"),
        )
        fed = fill_queue(forwarder, edge, count, settled=connected_to(edge), receipts=receipts)
        edge.pause()
        with Keeper(cloud, folder, count=count) as keeper, forwarder:
            forwarder.wait_ready(lambda: connected_to(cloud) in forwarder.log_text())
            cpu = CpuMeter(forwarder=forwarder, edge=edge, cloud=cloud, keeper=keeper)
            edge.resume()
            rate = keeper.messages_per_second(watched=[forwarder])
            return {"rate": rate, "fed": fed, "rss": forwarder.peak_rss_bytes() / 2**20, **cpu.per(count)}


def _bridge(parent: Path, count: int) -> Figures:
    with _place(parent) as folder, broker("cloud", folder) as cloud, Keeper(cloud, folder, count=count) as keeper:
        # The bridge is connected by TCP, and waits for an answer.
        cloud.pause()
        with broker("edge", folder, *_bridge_to(cloud)) as edge:
            fed = feed(edge, count)
            cpu = CpuMeter(edge=edge, cloud=cloud, keeper=keeper)
            cloud.resume()
            rate = keeper.messages_per_second(watched=[edge])
            return {"rate": rate, "fed": fed, **cpu.per(count)}


def _bridge_to(cloud: Mosquitto) -> list[str]:
    return [
        "max_inflight_messages 1000",
        "connection cloud",
        f"address 127.0.0.1:{cloud.port}",
        "bridge_protocol_version mqttv50",
        f"topic {TOPIC} out 1",
        "cleansession false",
        "notifications false",
    ]


def _counter(parent: Path, count: int) -> Figures:
    with _place(parent) as folder, broker("cloud", folder) as cloud:
        keeper = Keeper(cloud, folder, count=count)
        fed = fill_queue(keeper, cloud, count, settled=connected_to(cloud))
        cpu = CpuMeter(cloud=cloud)
        with keeper:
            rate = keeper.messages_per_second(watched=[])
            return {"rate": rate, "fed": fed, **cpu.per(count)}


@contextlib.contextmanager
def _place(parent: Path) -> Iterator[Path]:
    with TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)

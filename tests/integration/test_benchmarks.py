"""The benchmarks run, and what they print can be so. How fast anything is, is not tested: machines differ."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from dev.bench.films import given, make_film
from dev.bench.measure import QUICK, BenchmarkError
from dev.bench.saver import find_s5cmd
from dev.bench.stills import run as judge_stills
from tests.support.scenes import scene

ROOT = Path(__file__).parent.parent.parent


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dev.bench", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)


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


def detector_tables(*args: str) -> dict[str, list[list[str]]]:
    """A quick run's tables by title, each without its heading."""
    done = run("detector", "--quick", *args)
    assert done.returncode == 0, done.stderr
    assert "OpenCV 4" in done.stdout
    sections = (section.splitlines() for section in done.stdout.split("\n## ")[1:])
    return {
        title: [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
        for title, *lines in sections
    }


@pytest.mark.timeout(260)  # two dozen processes, one after the other
def test_detector_costs_more_than_decoding_and_finds_the_faces(tmp_path: Path) -> None:
    """The truth is where the faces were drawn, or what labels beside a clip say; each part of the time is told."""
    clip = tmp_path / "clip.avi"
    truth = make_film(clip, "one person", size=(320, 240), frames=40, smallest=40)
    labels = [f"{frame},{','.join(map(str, face.box))}" for frame, faces in enumerate(truth) for face in faces]
    (tmp_path / "clip.avi.csv").write_text("\n".join(labels))
    main, parts, scenes, threads, given, programs = detector_tables("--clip", str(clip)).values()

    methods = {row[0]: [number(cell) for cell in row[1:4]] for row in main}
    assert list(methods)[:3] == ["decoding alone, in colour", "decoding alone, in grey at half size", "naive loop"]
    decoding, _, naive, *ours = methods.values()
    assert len(ours) == 1 + ("YUNET_MODEL" in os.environ)
    assert naive[1] == decoding[2] == 1
    for cost, times_less, times_decoding in ours:
        assert decoding[0] < cost < naive[0]
        assert times_less == pytest.approx(naive[0] / cost, rel=0.02)
        assert times_decoding == pytest.approx(cost / decoding[0], rel=0.02)
    for row in [*main[2:], given[0]]:
        recall, precision, median, p95, loss = map(float, row[-5:])
        assert min(recall, precision) > 0.7
        assert 0 <= median <= p95 <= 15
        assert 0 <= loss <= 15
    assert all(number(cell) > 0 for row in parts for cell in row[1:])
    assert [row[0] for row in scenes] == [
        name for name in ("480x360, one person", "480x360, nobody", "all together") for _ in [naive, *ours]
    ]
    assert {row[2] for row in threads} == {"1", "default"}
    assert all(number(row[5]) > 1 for row in threads)
    assert [row[0] for row in programs] == [name for name in ("480x360, one person", "clip.avi") for _ in ours]
    for row in programs:
        assert decoding[0] < number(row[2]) < 10 * naive[0]
        assert number(row[3]) > 0


def test_the_client_is_measured_beside_paho_s() -> None:
    """Each step, and their sum. The benchmark itself checks that what comes is what was sent."""
    (rows,) = tables("client")
    assert list(rows) == ["face_messages.mqtt.client", "paho-mqtt"]
    for *steps, total, share in rows.values():
        assert sum(map(number, steps)) == pytest.approx(number(total), abs=0.3)
        assert number(share) == pytest.approx(number(total) / number(rows["paho-mqtt"][4]), abs=0.02)


def test_a_face_behind_another_does_not_count(tmp_path: Path) -> None:
    """Where two cross, the one in front counts all the time."""
    truth = make_film(tmp_path / "clip.avi", "several people", size=(160, 120), frames=150, smallest=10)
    behind, front = ([face.counts for faces in truth for face in faces if face.person == who] for who in (1, 2))
    assert all(front)
    crossing = [frame for frame, counts in enumerate(behind) if not counts]
    assert 5 < len(crossing) < 40
    assert crossing[-1] - crossing[0] == len(crossing) - 1


def test_labels_of_a_frame_that_the_clip_does_not_have_are_refused(tmp_path: Path) -> None:
    """Else a slip in them would pass as faces that nobody found."""
    clip = tmp_path / "clip.avi"
    make_film(clip, "nobody", size=(64, 48), frames=3, smallest=40)
    (tmp_path / "clip.avi.csv").write_text("0\n3,1,1,20,20\n")
    with pytest.raises(BenchmarkError, match="'3' is no frame"):
        given(tmp_path, clip)


def stills(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run("stills", "--labels", str(folder), *args)


def test_stills_are_judged_by_their_labels(tmp_path: Path) -> None:
    """A picture with one face, one with two of which a label is missing, and one with none."""
    image = scene([(90, 120, 70)])
    cv2.imwrite(str(tmp_path / "one.png"), image)
    cv2.imwrite(str(tmp_path / "two.png"), scene([(80, 120, 70), (230, 120, 70)]))
    cv2.imwrite(str(tmp_path / "none.png"), scene([]))
    cv2.imwrite(str(tmp_path / "unlabelled.png"), image)
    (tmp_path / "labels.csv").write_text("one.png,55,85,70,70\ntwo.png,45,85,70,70\nnone.png\n")
    done = stills(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "each on its own: 3." in done.stdout
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["naive", "DETECTOR=haar"] + ["DETECTOR=yunet"] * ("YUNET_MODEL" in os.environ)
    for row in rows:
        assert row[1:6] == ["1.000", "0.667", "2", "0", "1"]
        assert float(row[6].strip(" |")) > 0

    # Below the smallest size there is nothing to be found, nor to be wrong about.
    done = stills(tmp_path, "--smallest", "150")
    assert "| naive | nan | nan | 0 | 0 | 0 |" in done.stdout


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (None, "No such file"),
        ("one.png,55,85,70\n", "line 1"),
        ("two.png,1,1,50,50\n", "two.png, which is missing"),
        ("labels.csv,1,1,50,50\n", "no picture"),
        ("one.png,400,85,70,70\n", "one.png has 320x240 pixels"),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path: Path, labels: str | None, complaint: str) -> None:
    """And what is wrong with them."""
    cv2.imwrite(str(tmp_path / "one.png"), scene([(90, 120, 70)]))
    if labels is not None:
        (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(BenchmarkError, match=complaint) as raised:
        judge_stills(tmp_path, smallest=40)
    assert str(tmp_path / "labels.csv") in str(raised.value)


def test_bad_labels_end_the_benchmark_with_a_line(tmp_path: Path) -> None:
    done = stills(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"benchmarks: {tmp_path}/labels.csv cannot be read: No such file or directory\n"


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
        mine, other = number(ours[0]), number(rows["s5cmd"][0])
        # All three are rounded.
        assert number(ours[1]) == pytest.approx(mine / other, abs=0.01, rel=0.5 / mine + 0.5 / other)


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

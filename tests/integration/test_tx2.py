"""What the TX2's script makes of .env, which it reads as compose does, and of the cameras that the kernel names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# By `docker compose config`.
AS_COMPOSE_READS_IT = [
    (b"A=x", "x"),
    (b"A=x\r\nB=y\r\n", "x"),
    (b"\xef\xbb\xbfA=x", "x"),
    (b"A=", ""),
    (b"A=\r\n", ""),
    (b"B=y", ""),
    (b"#A=x", ""),
    (b"  # A=x\nB=A=y", ""),
    (b"AA=y\nA=x\nA_=z", "x"),
    (b"A=x\nA=y", "y"),
    (b" export A = x ", "x"),
    (b"A: x", "x"),
    (b"A=x # comment", "x"),
    (b"A=x#no comment", "x#no comment"),
    (b"A=x\t#no comment", "x\t#no comment"),
    (b"A=#x", "#x"),
    (b'A="x y" # comment', "x y"),
    (b"A='x # y'\r\n", "x # y"),
    (b'A=""', ""),
    (b'A=x"y"', 'x"y"'),
    (b'A="x\ny"\nB=z', "x\ny"),
    (b"B='A=y\nA=z'\nA=x", "x"),
    (b'A="a\\nb\\"c\\\\d\\te"', 'a\nb"c\\d\te'),
    (b"A='a\\nb\\'c'", "a\\nb'c"),
    (b"B=x\nA=a$B${B}b", "axxb"),
    (b"A=a${B:-d}b", "adb"),
    (b"A=pa$$word", "pa$word"),
    (b"A='pa$word'", "pa$word"),
    (b'A="pa\\$word"', "pa$word"),
    (b"A=pa$word", "pa"),
    (b"A=pa$word@host", "pa@host"),
    (b'A="pa$word"', "pa"),
    (b"A=p\xe4ss\xff", "p\udce4ss\udcff"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the script of the TX2 looks at, and a kernel with a board's own and two USB cameras."""
    shutil.copytree(ROOT / "deploy", tmp_path / "checkout/deploy")
    shutil.copy(ROOT / ".env.edge.example", tmp_path / "checkout")
    for number, (name, bus, index) in enumerate(
        [("vi-output, ov5693 2-0036", "platform", 0), ("HD Webcam", "usb", 0), ("HD Webcam", "usb", 1)]
    ):
        folder = tmp_path / f"sys/class/video4linux/video{number}"
        (folder / "device").mkdir(parents=True)
        (tmp_path / f"sys/bus/{bus}").mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "index").write_text(f"{index}\n")
        (folder / "device/subsystem").symlink_to(tmp_path / f"sys/bus/{bus}")
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / f"dev/video{number}").touch()
    (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
    for index in (0, 1):
        (tmp_path / f"dev/v4l/by-id/usb-HD_Webcam-video-index{index}").symlink_to(f"../../video{index + 1}")
    return tmp_path / "checkout"


def step(checkout: Path, script: str, **variables: str) -> tuple[int, str]:
    """Exit status and output of single steps of the script, by its own functions."""
    # No test may make a device: here each file in that folder is one.
    devices = checkout.parent / "dev"
    script = f'. "$0/deploy/tx2.sh"; is_video_device() {{ [[ $(readlink -f "$1") == {devices}/video? ]]; }}; {script}'
    environment = {"SYSFS": str(checkout.parent / "sys"), "DEVICES": str(devices)} | variables
    done = subprocess.run(
        ("bash", "-c", script, str(checkout)), capture_output=True, env={**os.environ, **environment}, check=False
    )
    return done.returncode, os.fsdecode(done.stdout + done.stderr)


@pytest.mark.parametrize(("content", "value"), AS_COMPOSE_READS_IT)
def test_env_is_read_as_compose_reads_it(checkout: Path, content: bytes, value: str) -> None:
    (checkout / ".env").write_bytes(content)
    assert step(checkout, "read_env .env; setting A") == (0, value)


def test_the_environment_counts_before_env(checkout: Path) -> None:
    (checkout / ".env").write_text("A=x\nB=$A\n")
    assert step(checkout, "read_env .env; setting A; setting B", A="y") == (0, "y\ny")


def test_without_env_nothing_is_set(checkout: Path) -> None:
    assert step(checkout, "read_env .env; setting A") == (0, "")


def test_what_compose_would_take_away_is_told_without_the_value(checkout: Path) -> None:
    (checkout / ".env").write_text("VIDEO_SOURCE=rtsp://admin:hu$sh@cam/s\nEDGE_ID='a$b'\nCAMERA_ID=$$b\n")
    done = subprocess.run((checkout / "deploy/tx2.sh", "--check"), capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stdout.splitlines() if "takes away" in line]
    assert line.startswith("TO DO    VIDEO_SOURCE in .env has a $")
    assert "single quotes" in line
    assert "hu" not in line


@pytest.mark.parametrize("line", ['VIDEO_GID="44"', "export VIDEO_GID=44", "VIDEO_GID=44 # video\r", "VIDEO_GID: 44"])
def test_the_camera_s_group_is_set_however_its_line_is_written(checkout: Path, line: str) -> None:
    env = checkout / ".env"
    script = "group=27; see_to b camera_group_is_set set_camera_group; read_env .env; setting VIDEO_GID"
    for content in (f"A=x\n{line}\nB=y\n", f"A=x\n{line}\n{line}", "A=x"):
        env.write_text(content)
        assert step(checkout, script) == (0, "mended   b\n27")
        assert env.read_text().startswith("A=x\n")
        assert env.read_text().count("VIDEO_GID=27") == max(1, content.count("VIDEO_GID"))


def check(checkout: Path, camera: str) -> tuple[str, str]:
    """The first word of what is said of a camera, and all of it."""
    (checkout / ".env").write_text(f"VIDEO_GID={(checkout.parent / 'dev').stat().st_gid}\n")
    _, said = step(checkout, f"check=yes; list_cameras; check_camera VIDEO_DEVICE {camera}")
    return next(line.split()[0] for line in said.splitlines() if not line.startswith("found")), said


def test_each_camera_is_named_with_its_bus_and_its_stable_name(checkout: Path) -> None:
    dev = checkout.parent / "dev"
    _, said = check(checkout, f"{dev}/video1")
    assert f"found    {dev}/video0: the board's own, vi-output, ov5693 2-0036\n" in said
    by_id = f"{dev}/v4l/by-id/usb-HD_Webcam-video-index"
    assert f"found    {dev}/video1: USB camera, HD Webcam, {by_id}0\n" in said
    assert f"found    {dev}/video2: USB, gives no pictures, HD Webcam, {by_id}1\n" in said


@pytest.mark.parametrize(
    ("camera", "verdict", "reason"),
    [
        ("video1", "ok", "VIDEO_DEVICE={by_id}"),
        ("v4l/by-id/usb-HD_Webcam-video-index0", "ok", "HD Webcam"),
        ("video0", "TO", "the board's own camera (vi-output, ov5693 2-0036)"),
        ("video2", "TO", "gives no pictures"),
        ("video7", "TO", "is not there"),
        ("null", "TO", "is no camera"),
    ],
)
def test_only_a_usb_camera_that_gives_pictures_is_right(checkout: Path, camera: str, verdict: str, reason: str) -> None:
    """And for another one, that is proposed, by the name that stays."""
    dev = checkout.parent / "dev"
    (dev / "null").touch()
    by_id = f"{dev}/v4l/by-id/usb-HD_Webcam-video-index0"
    found, said = check(checkout, f"{dev}/{camera}")
    assert found == verdict
    assert reason.format(by_id=by_id) in said
    if verdict == "TO":
        assert f"VIDEO_DEVICE={by_id} in .env" in said


def test_two_detectors_do_not_get_one_camera(checkout: Path) -> None:
    """Under two names."""
    (checkout / "a").touch()
    (checkout / "b").symlink_to("a")
    (checkout / ".env").write_text(f"VIDEO_DEVICE={checkout}/a\nVIDEO_DEVICE_2='{checkout}/b'\n")
    done = subprocess.run((checkout / "deploy/tx2.sh", "--check"), capture_output=True, text=True, check=False)
    assert "TO DO    VIDEO_DEVICE and VIDEO_DEVICE_2 in .env name the same camera" in done.stdout


def test_a_second_camera_is_looked_at_too(checkout: Path) -> None:
    (checkout / "b").touch()
    (checkout / ".env").write_text(f"VIDEO_SOURCE=rtsp://cam/\nVIDEO_DEVICE_2={checkout}/b\n")
    done = subprocess.run((checkout / "deploy/tx2.sh", "--check"), capture_output=True, text=True, check=False)
    assert f"TO DO    {checkout}/b is no camera: plug one in, and name it in VIDEO_DEVICE_2 in .env" in done.stdout


def test_a_file_is_no_camera(checkout: Path) -> None:
    """By the whole script: its path stands in quotes, which compose takes away."""
    (checkout / "video0").touch()
    (checkout / ".env").write_text(f'VIDEO_DEVICE="{checkout}/video0"\r\n')
    done = subprocess.run((checkout / "deploy/tx2.sh", "--check"), capture_output=True, text=True, check=False)
    assert f"TO DO    {checkout}/video0 is no camera" in done.stdout


@pytest.mark.parametrize("line", ["VIDEO_SOURCE='rtsp://cam/s'", 'VIDEO_SOURCE="http://cam/s" # mine\r'])
def test_a_camera_in_the_network_needs_no_device(checkout: Path, line: str) -> None:
    (checkout / ".env").write_text(f"{line}\n")
    done = subprocess.run((checkout / "deploy/tx2.sh", "--check"), capture_output=True, text=True, check=False)
    assert "ok       the camera is in the network" in done.stdout


def test_a_camera_in_a_secret_file_needs_no_device(checkout: Path) -> None:
    (checkout / "secrets/edge_face_detection").mkdir(parents=True)
    (checkout / "secrets/edge_face_detection/video_source").write_text("rtsp://cam/s")
    (checkout / ".env").write_text("VIDEO_SOURCE=\n")
    done = subprocess.run((checkout / "deploy/tx2.sh", "--check"), capture_output=True, text=True, check=False)
    assert "ok       the camera is in the network: secrets/edge_face_detection/video_source is there" in done.stdout


def test_a_camera_in_the_network_is_not_hidden_by_the_override_for_a_device(checkout: Path) -> None:
    env = "COMPOSE_FILE=docker-compose.edge.yml:compose/camera.yml\nVIDEO_SOURCE=rtsp://cam/s\n"
    (checkout / ".env").write_text(env)
    done = subprocess.run((checkout / "deploy/tx2.sh", "--check"), capture_output=True, text=True, check=False)
    assert "TO DO    VIDEO_SOURCE is set in .env, but compose/camera.yml counts before it" in done.stdout

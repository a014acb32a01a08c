"""What is said of a camera on this machine that cannot be opened: by the kernel's own word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_face_detection.sources import device_camera
from edge_face_detection.sources.device_camera import why_not_opened

DEVICE, NUMBER = "/dev/video0", os.makedev(81, 0)


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(device_camera, "SYSFS", tmp_path)
    monkeypatch.setattr(device_camera, "BY_ID", tmp_path / "by-id")
    return tmp_path


def add(folder: Path, name: str, bus: str, driver: str = "", index: int = 0) -> None:
    (folder / "device").mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "index").write_text(f"{index}\n")
    (folder / "device/subsystem").symlink_to(f"/sys/bus/{bus}")
    (folder / "device/driver").symlink_to(f"/sys/bus/{bus}/drivers/{driver}")


def own_folder(sysfs: Path) -> Path:
    return sysfs / "dev/char" / f"{os.major(NUMBER)}:{os.minor(NUMBER)}"


@pytest.mark.parametrize(
    ("name", "driver"), [("vi-output, ov5693 2-0036", "tegra-vi4"), ("unicam-image", "unicam"), ("x", "rkisp_v5")]
)
def test_the_board_s_own_camera_is_named_and_a_usb_camera_proposed(sysfs: Path, name: str, driver: str) -> None:
    add(own_folder(sysfs), name, "platform", driver)
    (sysfs / "by-id").mkdir()
    (sysfs / "by-id/usb-HD_Webcam-video-index0").symlink_to("/dev/null")
    said = why_not_opened(DEVICE, NUMBER)
    assert f"is the board's own camera ({name})" in said
    assert f"USB cameras here: {sysfs}/by-id/usb-HD_Webcam-video-index0" in said


def test_in_a_container_usb_cameras_are_proposed_by_number(sysfs: Path) -> None:
    add(own_folder(sysfs), "vi-output, ov5693", "platform", "tegra-video")
    add(sysfs / "class/video4linux/video1", "HD Webcam", "usb", "uvcvideo")
    add(sysfs / "class/video4linux/video2", "HD Webcam", "usb", "uvcvideo", 1)
    assert why_not_opened(DEVICE, NUMBER).endswith("USB cameras here: /dev/video1")


def test_a_second_device_of_a_usb_camera_gives_no_pictures(sysfs: Path) -> None:
    add(own_folder(sysfs), "HD Webcam", "usb", "uvcvideo", 1)
    assert "belongs to the camera HD Webcam but gives no pictures" in why_not_opened(DEVICE, NUMBER)


@pytest.mark.parametrize("bus", ["usb", "platform", None])
def test_of_another_camera_it_is_asked_who_uses_it(sysfs: Path, bus: str | None) -> None:
    """Also of one that the kernel tells nothing about, and of one made by software."""
    if bus:
        add(own_folder(sysfs), "vivid", bus, "vivid")
    assert "is another program using it (fuser -v /dev/video0)?" in why_not_opened(DEVICE, NUMBER)

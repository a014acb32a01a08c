"""Disks of their own for a test, which die, turn read-only, and come back. They need root and loop devices."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import eventually

# FS_IOC_SHUTDOWN of ext4, with "log nothing": what is not on disk is lost, and nothing works any more.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = struct.pack("I", 2)


class SmallDisk:
    """An ext4 file system of 64 MiB, mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs the right to mount a file system")
        self.folder = folder
        self._image = folder.with_name(f"{folder.name}.img")
        folder.mkdir()
        for command in (("truncate", "-s", "64M"), ("mkfs.ext4", "-qF")):
            subprocess.run([*command, self._image], check=True)
        self.mount()

    def mount(self) -> None:
        """Mended before, as a person would, where it came back with errors."""
        command = ["mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder)]
        errors: list[OSError] = []

        def is_sound() -> bool:
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("needs loop devices and ext4")
            try:
                (self.folder / "sound").touch()
            except OSError as error:
                # Or a container that starts at this moment has copied our mounts, and keeps the dead one for now.
                errors.append(error)
                self.unmount()
                subprocess.run(["e2fsck", "-fy", self._image], capture_output=True, check=False)
                return False
            return True

        eventually(is_sound, within=30, what=lambda: f"it stays dead: {errors[-1]}")

    def unmount(self) -> None:
        """Where nobody holds it any more."""
        subprocess.run(["umount", self.folder], check=True)

    def dies(self) -> None:
        """As a card that is pulled out, or whose controller gives up."""
        os.sync()
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(folder)

    def turns_read_only(self) -> None:
        """As a card with bad blocks does: an error in the file system, for which it turns read-only."""
        os.sync()
        find = ["findmnt", "-no", "SOURCE", str(self.folder)]
        device = Path(subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def remove(self) -> None:
        subprocess.run(["umount", "-l", self.folder], capture_output=True, check=False)
        self._image.unlink()

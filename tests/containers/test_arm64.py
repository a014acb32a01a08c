"""What can be seen on any machine of the images for ARM64, which are built on the devices themselves."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Iterator

import pytest

from tests.containers.engine import LABEL, docker, run

TAG = "facedetection-test-arm64"
SHARED_OBJECT, AARCH64 = 3, 183


@pytest.fixture(scope="module")
def plugin() -> Iterator[bytes]:
    """The broker's plugin, compiled by the Dockerfile's own command."""
    target = ("--target", "plugin", "--build-arg", "TARGET=aarch64-linux-musl")
    docker("build", *target, "--label", LABEL, "--tag", TAG, "cloud_mosquitto", within=900)
    container = docker("create", "--label", LABEL, TAG).strip()
    try:
        with tarfile.open(fileobj=io.BytesIO(run("docker", "cp", f"{container}:/identity.so", "-").stdout)) as tar:
            file = tar.extractfile("identity.so")
            assert file is not None
            yield file.read()
    finally:
        docker("rm", container)
        docker("rmi", TAG)


def test_the_broker_s_plugin_compiles_for_arm64_and_its_musl(plugin: bytes) -> None:
    """As an ELF file (its header: elf(5)) that has what Mosquitto looks for."""
    assert plugin[:4] == b"\x7fELF"
    assert struct.unpack("<HH", plugin[16:20]) == (SHARED_OBJECT, AARCH64)
    for function in (b"mosquitto_plugin_version", b"mosquitto_plugin_init", b"mosquitto_plugin_cleanup"):
        assert function in plugin
    # glibc's is called libc.so.6.
    assert b"\0libc.so\0" in plugin
    assert b"libc.so.6" not in plugin

"""What the running containers may do: as the engine tells it, and as the kernel does."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from cloud_gallery.password import matches
from cloud_gallery.settings import GallerySettings
from cloud_saver.settings import SaverSettings
from edge_face_detection.settings import DetectorSettings
from edge_forwarder.settings import ForwarderSettings
from face_messages.service.settings import ProgramSettings
from tests.containers.engine import LABEL, SERVICES, docker, everything_shown, in_container, inspect, run, secret_files
from tests.support.waiting import eventually

SETTINGS: dict[str, type[ProgramSettings]] = {
    "edge_face_detection": DetectorSettings,
    "edge_forwarder": ForwarderSettings,
    "cloud_saver": SaverSettings,
    "cloud_gallery": GallerySettings,
}
running = pytest.mark.usefixtures("stack")
each_service = pytest.mark.parametrize("name", SERVICES)


@running
@each_service
def test_every_process_is_an_ordinary_user_s_without_any_capability(name: str) -> None:
    """Nor can it get one, by a program with the setuid bit, for instance; and system calls are filtered."""
    # Programs end while they are looked at; the shell that looks is a process too.
    script = "for status in /proc/[0-9]*/status; do echo ---; cat $status; done 2>/dev/null; true"
    processes = in_container(name, script).split("---\n")[1:]
    statuses = [dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in processes if text]
    assert len(statuses) >= 2
    for status in statuses:
        assert all(int(number) >= 10000 for number in status["Uid"].split() + status["Gid"].split()), status["Name"]
        assert "0" not in status["Groups"].split()
        assert {kind: int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
            "CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0,
        }  # fmt: skip
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"


@running
@each_service
def test_nothing_can_be_written_but_where_it_has_to_be(name: str) -> None:
    """The image is read-only, and so are the secrets; what is written to memory is bounded."""
    assert inspect(name)["HostConfig"]["ReadonlyRootfs"]
    mounts = [line.split() for line in in_container(name, "cat /proc/mounts").splitlines()]
    writable = {target: source for source, target, _, options, *_ in mounts if "rw" in options.split(",")}
    of_the_kernel = ("/proc", "/dev", "/sys")
    places = {target for target in writable if not target.startswith(of_the_kernel)}
    volumes = {mount["Destination"] for mount in inspect(name)["Mounts"] if mount["Type"] == "volume" and mount["RW"]}
    # Docker writes these three itself, and only root may change them. In the demo the secrets are an empty tmpfs.
    given = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/secrets"}
    assert places - given <= volumes | {"/tmp"}
    tried = in_container(
        name, "for place in / /etc /app /usr /run /etc/hosts /var; do touch $place/x && echo $place; done; true"
    )
    assert tried == ""
    assert "size=" in next(options for _, target, _, options, *_ in mounts if target == "/tmp")


@running
@each_service
def test_no_container_can_exhaust_the_machine(name: str) -> None:
    """Memory, processes and logs are limited, by what the kernel says too."""
    host = inspect(name)["HostConfig"]
    assert 0 < host["Memory"] <= 512 * 2**20
    assert 0 < host["PidsLimit"] <= 320
    limits = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2>/dev/null ||"
    limits += " cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max"
    assert [int(line) for line in in_container(name, limits).split()] == [host["Memory"], host["PidsLimit"]]
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}


@running
@each_service
def test_a_crash_leaves_no_memory_with_keys_or_faces_on_the_disk(name: str) -> None:
    assert in_container(name, "ulimit -c").strip() == "0"


@running
@each_service
def test_containers_are_shut_off_from_their_host(name: str) -> None:
    """No devices, no namespaces of the host, none of its folders but the secrets', and not the engine's socket."""
    container = inspect(name)
    host = container["HostConfig"]
    assert not host["Privileged"]
    assert not host["CapAdd"]
    assert not host["Devices"]
    assert "host" not in (host["NetworkMode"], host["PidMode"], host["IpcMode"], host["UTSMode"], host["UsernsMode"])
    assert list(container["NetworkSettings"]["Networks"]) == ["hw03"]
    binds = {mount["Destination"]: mount["RW"] for mount in container["Mounts"] if mount["Type"] == "bind"}
    assert binds in ({}, {"/run/secrets": False})


@running
def test_no_port_is_published_to_others_but_the_one_that_wants_a_certificate() -> None:
    """The gallery's is to this host alone. Docker listens on IPv4 and, where the host has it, on IPv6."""
    published = {
        (name, inside, port["HostPort"], port["HostIp"].replace("::", "0.0.0.0"))
        for name in SERVICES
        for inside, ports in inspect(name)["NetworkSettings"]["Ports"].items()
        for port in ports or ()
    }
    assert published == {
        ("cloud_mosquitto", "8883/tcp", "8883", "0.0.0.0"),
        ("cloud_gallery", "8080/tcp", "8080", "127.0.0.1"),
    }


@running
@pytest.mark.parametrize("name", SETTINGS)
def test_no_secret_is_in_the_environment(name: str) -> None:
    """`docker inspect` shows it to whoever may ask. The demo's keys and clip are none; nor is an address alone."""
    environment = dict(entry.split("=", 1) for entry in inspect(name)["Config"]["Env"])
    of_settings = [setting.variable for setting in SETTINGS[name].listed() if setting.secret]
    assert of_settings
    for variable in of_settings:
        value = environment.get(variable, "")
        known = value == "" or value.startswith(("demo-", "/clip/")) or matches("demo-password", value)
        assert known or ("://" in value and "@" not in value), variable


@pytest.mark.usefixtures("images")
def test_a_secret_in_a_file_is_seen_by_its_program_only(tmp_path: Path) -> None:
    """Neither by `docker inspect`, nor in the process list or the environment, nor in the log."""
    folder = tmp_path / "secrets"
    known = {name: secrets.token_hex(16) for name in ("cos_hmac_access_key_id", "cos_hmac_secret_access_key")}
    settings = {"MQTT_URL": "mqtt://nowhere.invalid", "COS_ENDPOINT": "http://nowhere.invalid", "COS_BUCKET": "faces"}
    options = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
    hardened = ("--network=none", "--read-only", "--cap-drop=ALL", "--volume", f"{folder}:/run/secrets:ro")
    with secret_files(folder, known):
        name = docker("run", "--detach", "--label", LABEL, *hardened, *options, "cloud_saver").strip()
        try:
            eventually(lambda: "started" in run("docker", "logs", name).stderr.decode(), what="no start")
            assert [value for value in known.values() if value in everything_shown(name)] == []
            # Not even another user inside the same container.
            file = "/run/secrets/cos_hmac_secret_access_key"
            other = run("docker", "exec", "--user", "10009", name, "cat", file, ok=(1,))
            assert b"ermission denied" in other.stderr
        finally:
            docker("rm", "--force", name)

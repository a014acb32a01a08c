"""Enrolling, renewing and revoking edges: the commands in the cloud broker's image, and what the TX2 does."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509

from dev.stack.bundle import MEMBERS, Bundle
from face_messages.mqtt.url import TlsFiles
from face_messages.service.certificate import ends_at
from tests.support.certificates import Authority
from tests.support.cloud_broker import ROOT, CloudBroker
from tests.support.outside import Outside
from tests.support.parts import SendingSide, TakingSide
from tests.support.plain import plain_client, publish
from tests.support.programs import forwarder
from tests.support.waiting import eventually

FACES = b"facedetection_topic"
DAY = 86400


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudBroker]:
    with CloudBroker(tmp_path / "cloud") as broker:
        yield broker


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names_of(cert: x509.Certificate) -> list[str]:
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def serves(cloud: CloudBroker, context: ssl.SSLContext, name: str) -> bool:
    """Whether the broker passes for this host."""
    with socket.create_connection(("127.0.0.1", cloud.outside_port), 10) as client:
        try:
            context.wrap_socket(client, server_hostname=name).close()
        except ssl.SSLCertVerificationError:
            return False
    return True


def hung_up(client: Outside) -> bool:
    try:
        client.read()
    except ConnectionError:
        return True
    return False


def said(cloud: CloudBroker, *command: str, **env: str) -> str:
    """What a command says that fails; it puts out nothing else."""
    done = cloud.run(*command, **env)
    assert done.returncode == 1
    assert done.stdout == b""
    return done.stderr.decode()


# -- on the VM --------------------------------------------------------------------------------


def test_a_bundle_holds_what_an_edge_needs(cloud: CloudBroker) -> None:
    bundle = cloud.enrol("tx2-01")
    cert = certificate(bundle.cert)
    assert cert.subject.rfc4514_string() == "CN=tx2-01"
    assert bundle.ca.read_bytes() == (cloud.pki / "ca.crt").read_bytes()
    settings = bundle.tar.with_name("edge.env").read_text()
    assert settings == "EDGE_ID=tx2-01\nCLOUD_MQTT_URL=mqtts://127.0.0.1:8883\n"
    with tarfile.open(bundle.tar) as tar:
        assert {stat.S_IMODE(member.mode) for member in tar} == {0o600}


def test_the_vm_keeps_no_key_of_an_edge_and_shows_its_own_to_nobody(cloud: CloudBroker) -> None:
    key = cloud.enrol("tx2-01").key.read_bytes()
    kept = [path for path in cloud.pki.rglob("*") if path.is_file()]
    assert [path for path in kept if key in path.read_bytes()] == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert "PRIVATE" not in cloud.log_text()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-rf",
        ".hidden",
        "a/b",
        "../x",
        "a b",
        "a\nb",
        "a+b",
        "#",
        "$SYS",
        "ä",
        "x" * 64,
        "a;id",
        "CN=x",
        "cloud_saver",
    ],
)
def test_a_name_that_could_mean_something_else_is_refused(cloud: CloudBroker, name: str) -> None:
    assert "choose another" in (text := said(cloud, "enrol", name)) or "up to 63 letters" in text


def test_a_name_belongs_to_one_edge(cloud: CloudBroker) -> None:
    """Until all its certificates are revoked."""
    cloud.enrol("tx2-01")
    assert "enrolled already" in said(cloud, "enrol", "tx2-01")
    cloud.enrol("tx2-0")
    cloud.enrol("tx2.01")
    assert cloud.run("revoke", "tx2-01").returncode == 0
    (cloud.folder / "enrol-tx2-01").rename(cloud.folder / "old")
    with Outside(cloud.outside_port, cloud.enrol("tx2-01").context()) as client:
        assert client.reason == 0


def test_without_an_address_there_is_no_bundle(cloud: CloudBroker) -> None:
    assert "CLOUD_ADDRESS: is not set" in said(cloud, "enrol", "tx2-01", CLOUD_ADDRESS="")
    assert cloud.run("enrolled").stdout.count(b"tx2-01") == 0


def test_a_key_is_not_written_to_a_terminal(cloud: CloudBroker) -> None:
    there, here = os.openpty()
    try:
        command = [str(ROOT / "cloud_mosquitto" / "identities"), "enrol", "tx2-01"]
        done = subprocess.run(command, env=cloud.environment, stdout=here, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 1
        assert b"tx2-01.tar" in done.stderr
    finally:
        os.close(there)
        os.close(here)


def test_the_list_tells_who_is_enrolled(cloud: CloudBroker) -> None:
    for name in ("tx2-01", "tx2-02"):
        cloud.enrol(name)
    cloud.enrol("tx2-02", "renew")
    cloud.run("revoke", "tx2-01")
    lines = [line.split() for line in cloud.run("enrolled").stdout.decode().splitlines()]
    assert [(line[0], line[3]) for line in lines] == [
        ("cloud_mosquitto", "valid"),
        ("tx2-01", "revoked"),
        ("tx2-02", "valid"),
        ("tx2-02", "valid"),
    ]
    cert = certificate(cloud.folder / "enrol-tx2-01" / "cloud_client.crt")
    dates = (f"{cert.not_valid_before_utc:%Y-%m-%d}", f"{cert.not_valid_after_utc:%Y-%m-%d}")
    assert tuple(lines[1][1:3]) == dates
    assert int(lines[1][4], 16) == cert.serial_number


def test_the_list_marks_what_ends_soon(cloud: CloudBroker) -> None:
    cloud.enrol("tx2-01")
    index = cloud.pki / "index.txt"
    for days, state in ((29, b"ends-soon"), (-1, b"ended"), (31, b"valid")):
        ends = time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + days * DAY))
        index.write_text(re.sub(r"V\t\w+(\t.*CN=tx2-01)", rf"V\t{ends}\1", index.read_text()))
        (line,) = [line for line in cloud.run("enrolled").stdout.splitlines() if line.startswith(b"tx2-01")]
        assert line.split()[3] == state


def test_a_renewed_edge_may_use_either_certificate(cloud: CloudBroker) -> None:
    """So it can take the new one when it suits, and nothing stops in between."""
    old, new = cloud.enrol("tx2-01"), cloud.enrol("tx2-01", "renew")
    assert certificate(old.cert).serial_number != certificate(new.cert).serial_number
    for bundle in (old, new):
        with Outside(cloud.outside_port, bundle.context()) as client:
            assert client.subscribe(b"facedetection_receipts/tx2-01") == 1
    assert "has no valid certificate" in said(cloud, "renew", "tx2-09")


def test_a_revoked_edge_is_out_at_once_and_stays_out(cloud: CloudBroker) -> None:
    """With all its certificates, though it is connected; also after the broker was restarted."""
    bundles = (cloud.enrol("tx2-01"), cloud.enrol("tx2-01", "renew"))
    with Outside(cloud.outside_port, bundles[0].context(), session_seconds=3600) as client:
        client.subscribe(b"facedetection_receipts/tx2-01")
        assert cloud.run("revoke", "tx2-01").returncode == 0
        eventually(lambda: hung_up(client), what="it is still connected")
    for _ in range(2):
        for bundle in bundles:
            context = bundle.context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError, match=r"(?i)certificate.revoked"):
                Outside(cloud.outside_port, context)
        cloud.restart()
    assert "has no valid certificate" in said(cloud, "revoke", "tx2-01")


def test_revoking_one_edge_costs_the_others_nothing(cloud: CloudBroker, tmp_path: Path) -> None:
    """No message, no connection, and nothing of what waits in the broker, though it is in no custody."""
    bundle = cloud.enrol("tx2-02")
    cloud.enrol("tx2-01")
    with TakingSide(cloud.url, client_id="away"):
        pass
    with plain_client(cloud.port) as inside:
        publish(inside, "facedetection_topic", b"waits")
    tls = TlsFiles(bundle.ca, bundle.cert, bundle.key)
    with (
        TakingSide(cloud.url, client_id="cloud_saver") as saver,
        SendingSide(cloud.outside_url, tmp_path / "o.db", client_id="tx2-02", tls=tls) as sender,
    ):
        for number in range(300):
            sender.put(b"%d" % number)
            if number == 150:
                assert cloud.run("revoke", "tx2-01").returncode == 0
        eventually(lambda: sender.outbox.confirmed == 300, what="not all are confirmed")
        assert sender.session.connects == saver.session.connects == 1
        assert sender.sender.resent == 0
    with TakingSide(cloud.url, client_id="away") as back:
        eventually(lambda: b"waits" in back.payloads, what="it is gone")


def test_what_keeps_edges_out_never_ends_before_the_ca(cloud: CloudBroker) -> None:
    """A revocation list whose time is over would lock all edges out."""
    (crl,) = (x509.load_pem_x509_crl((cloud.pki / "crl.pem").read_bytes()),)
    assert crl.next_update_utc is not None
    assert (crl.next_update_utc - certificate(cloud.pki / "ca.crt").not_valid_after_utc).total_seconds() > -60


def test_a_restart_keeps_the_ca_and_the_edges(cloud: CloudBroker) -> None:
    bundle = cloud.enrol("tx2-01")
    before = {name: (cloud.pki / name).read_bytes() for name in ("ca.crt", "ca.key", "live/server.crt")}
    cloud.restart()
    assert {name: (cloud.pki / name).read_bytes() for name in before} == before
    with Outside(cloud.outside_port, bundle.context()) as client:
        assert client.reason == 0


def test_the_server_s_certificate_follows_its_address_and_is_renewed_in_time(cloud: CloudBroker) -> None:
    server = cloud.pki / "live" / "server.crt"
    addresses = "vm.example.org, 203.0.113.7 2001:db8::1"
    assert cloud.run("prepare", CLOUD_ADDRESS=addresses).returncode == 0
    assert names_of(certificate(server))[3:] == ["vm.example.org", "203.0.113.7", "2001:db8::1"]
    cloud.reload()
    context = cloud.enrol("tx2-01").context()
    eventually(lambda: serves(cloud, context, "vm.example.org"), what="it still shows the old one")
    authority = Authority.of(cloud.pki / "ca.crt", cloud.pki / "ca.key", cloud.folder)
    for days, renewed in ((31, False), (29, True)):
        pair = authority.issue("cloud_mosquitto", days=days)
        shutil.copy(pair.cert, server)
        shutil.copy(pair.key, cloud.pki / "live" / "server.key")
        cloud.run("prepare", CLOUD_ADDRESS=addresses)
        assert (server.read_bytes() != pair.cert.read_bytes()) is renewed


@pytest.mark.parametrize("address", ["vm.example.org:8883", "vm;id", "$(id)", "a/b", "1.2.3"])
def test_a_wrong_address_is_said(tmp_path: Path, address: str) -> None:
    cloud = CloudBroker(tmp_path / "cloud", address=address)
    done = cloud.run("broker")
    assert done.returncode == 1
    assert b"CLOUD_ADDRESS" in done.stderr or b"1.2.3" in done.stderr


def test_a_certificate_of_one_s_own_is_used(cloud: CloudBroker, tmp_path: Path) -> None:
    """Edges still show one of the broker's CA, and get the other CA to trust."""
    own = Authority(tmp_path)
    pair = own.issue("vm.example.org")
    secrets = cloud.folder / "secrets"
    secrets.mkdir()
    shutil.copy(pair.cert, secrets / "server.crt")
    assert "server.key: cannot be read" in said(cloud, "prepare")
    shutil.copy(own.issue("another").key, secrets / "server.key")
    shutil.copy(own.cert, secrets / "server.ca.crt")
    assert "are not a certificate and its key" in said(cloud, "prepare")
    shutil.copy(pair.key, secrets / "server.key")
    cloud.restart()
    assert "server.crt ends within 30 days" in cloud.log_text()
    bundle = cloud.enrol("tx2-01")
    assert bundle.ca.read_bytes() == own.cert.read_bytes()
    with Outside(cloud.outside_port, bundle.context()) as client:
        assert client.reason == 0


# -- at the edge ------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of the checkout the script needs, on a TX2."""
    folder = tmp_path / "checkout"
    (folder / "deploy").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "enrol.sh", folder / "deploy")
    shutil.copy(ROOT / ".env.edge.example", folder)
    return folder


def take(checkout: Path, bundle: Path) -> subprocess.CompletedProcess[bytes]:
    command = [str(checkout / "deploy" / "enrol.sh"), bundle.name]
    return subprocess.run(command, cwd=bundle.parent, capture_output=True, timeout=30, check=False)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


@needs_root
def test_the_tx2_takes_a_bundle_with_one_command(cloud: CloudBroker, checkout: Path) -> None:
    """Twice is harmless, a renewed one replaces it, and other settings stay as they are."""
    (checkout / ".env").write_text("# mine\nVIDEO_GID=44\nEDGE_ID=edge1\nCLOUD_MQTT_URL=mqtt://old\nLOG_LEVEL=debug\n")
    (checkout / ".env").chmod(0o640)
    (checkout / "secrets").mkdir(mode=0o700)
    bundle = cloud.enrol("tx2-01")
    first = take(checkout, bundle.tar)
    assert first.returncode == 0, first.stderr.decode()
    assert b"EDGE_ID was 'edge1'" in first.stdout
    for path, member in zip((bundle.ca, bundle.cert, bundle.key), MEMBERS[:3], strict=True):
        placed = checkout / "secrets" / member
        assert placed.read_bytes() == path.read_bytes()
        assert (placed.stat().st_uid, stat.S_IMODE(placed.stat().st_mode)) == (10001, 0o600)
    assert (checkout / "secrets").stat().st_mode & 0o111 == 0o111
    lines = (checkout / ".env").read_text().splitlines()
    assert lines[:3] == ["# mine", "VIDEO_GID=44", "LOG_LEVEL=debug"]
    assert set(lines[3:]) == {
        "EDGE_ID=tx2-01",
        "CLOUD_MQTT_URL=mqtts://127.0.0.1:8883",
        "CLOUD_MQTT_CA_FILE=/run/secrets/cloud_ca.crt",
        "CLOUD_MQTT_CERT_FILE=/run/secrets/cloud_client.crt",
        "CLOUD_MQTT_KEY_FILE=/run/secrets/cloud_client.key",
        "COMPOSE_FILE=docker-compose.edge.yml:compose/camera.yml",
    }
    assert stat.S_IMODE((checkout / ".env").stat().st_mode) == 0o640
    before = tree(checkout)
    assert b"was" not in take(checkout, bundle.tar).stdout
    assert tree(checkout) == before
    renewed = cloud.enrol("tx2-01", "renew")
    assert take(checkout, renewed.tar).returncode == 0
    assert (checkout / "secrets" / "cloud_client.crt").read_bytes() == renewed.cert.read_bytes()


@needs_root
def test_without_settings_it_begins_with_the_example(cloud: CloudBroker, checkout: Path) -> None:
    assert take(checkout, cloud.enrol("tx2-01").tar).returncode == 0
    kept = set((checkout / ".env.edge.example").read_text().splitlines())
    missing = kept - set((checkout / ".env").read_text().splitlines())
    assert {line.partition("=")[0] for line in missing} == {"EDGE_ID", "CLOUD_MQTT_URL"}
    assert stat.S_IMODE((checkout / "secrets").stat().st_mode) == 0o755


@needs_root
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LOG_LEVEL=info", ["docker-compose.edge.yml:compose/camera.yml"]),
        ("COMPOSE_FILE=\n", ["docker-compose.edge.yml:compose/camera.yml"]),
        ("VIDEO_SOURCE=rtsp://camera/\n", ["docker-compose.edge.yml"]),
        ("VIDEO_SOURCE=\n", ["docker-compose.edge.yml:compose/camera.yml"]),
        ("COMPOSE_FILE=docker-compose.edge.yml:mine.yml\n", ["docker-compose.edge.yml:mine.yml"]),
    ],
    ids=["older", "empty", "network camera", "empty source", "of a person's own"],
)
def test_compose_files_are_named_where_nobody_has(
    cloud: CloudBroker, checkout: Path, before: str, after: list[str]
) -> None:
    """So that `docker compose up -d` works afterwards; what a person has chosen stays."""
    (checkout / ".env").write_text(before)
    done = take(checkout, cloud.enrol("tx2-01").tar)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    assert re.findall(r"^COMPOSE_FILE=(.*)$", (checkout / ".env").read_text(), re.MULTILINE) == after


@needs_root
def test_compose_files_without_the_edge_are_told(cloud: CloudBroker, checkout: Path) -> None:
    """As where both hosts are one, and the settings began as those of the cloud."""
    (checkout / ".env").write_text("COMPOSE_FILE=docker-compose.cloud.yml\n")
    done = take(checkout, cloud.enrol("tx2-01").tar)
    assert done.returncode == 0
    assert b"does not name docker-compose.edge.yml" in done.stderr


def packed(members: Sequence[tuple[str, bytes | str]]) -> bytes:
    """A tar of files, or of links where a member's content is text."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def hostile(good: dict[str, bytes]) -> Iterator[bytes]:
    """What might be given in place of a bundle."""
    yield b""
    yield os.urandom(5000)
    yield bytes(200_000)
    yield packed([*good.items(), ("../evil", b"x")])
    yield packed([("/etc/evil", b"x"), *good.items()])
    yield packed([*list(good.items())[1:]])
    yield packed([*good.items(), *good.items()])
    yield packed([(f"./{name}", content) for name, content in good.items()])
    yield packed(
        [(name, content) for name, content in good.items() if name != "edge.env"] + [("edge.env", "/etc/passwd")]
    )
    for name, content in (
        ("cloud_ca.crt", "/etc/passwd"),
        ("cloud_ca.crt", b"root:x:0:0\n"),
        ("cloud_ca.crt", good["cloud_client.key"]),
        ("cloud_client.key", good["cloud_client.crt"]),
        ("cloud_client.key", b""),
        ("cloud_client.crt", good["cloud_client.crt"] + b"\x1b[2J\n"),
        ("cloud_client.crt", b"-----BEGIN CERTIFICATE-----\nabc\n"),
        ("cloud_ca.crt", b"x" * 100_000),
        ("edge.env", b"EDGE_ID=a\nCLOUD_MQTT_URL=mqtts://x:1\nVIDEO_SOURCE=http://evil\n"),
        ("edge.env", b"EDGE_ID=$(id)\nCLOUD_MQTT_URL=mqtts://x:1\n"),
        ("edge.env", b"EDGE_ID=a\nCLOUD_MQTT_URL=mqtt://x:1\n"),
        ("edge.env", b"EDGE_ID=a\nCLOUD_MQTT_URL=mqtts://x:1 #\n"),
        ("edge.env", b"EDGE_ID=../a\nCLOUD_MQTT_URL=mqtts://x:1\n"),
        ("edge.env", b"EDGE_ID=a\n"),
    ):
        yield packed(list((good | {name: content}).items()))


def test_what_is_no_bundle_changes_nothing(cloud: CloudBroker, checkout: Path, tmp_path: Path) -> None:
    """Whatever names, links, sizes and contents it has."""
    with tarfile.open(cloud.enrol("tx2-01").tar) as tar:
        good = {name: file.read() for name in MEMBERS if (file := tar.extractfile(name)) is not None}
    before, outside = tree(checkout), set(tmp_path.iterdir())
    bundle = cloud.folder / "hostile.tar"
    for number, content in enumerate(hostile(good)):
        bundle.write_bytes(content)
        done = take(checkout, bundle)
        assert done.returncode == 1, number
        assert done.stderr.startswith(b"enrol: hostile.tar: "), done.stderr
        assert tree(checkout) == before, number
    assert set(tmp_path.iterdir()) == outside


def test_an_enrolled_forwarder_delivers_and_tells_when_its_certificate_ends(
    cloud: CloudBroker, tmp_path: Path, start_broker: object
) -> None:
    """And is told in words when its name is not the one on the certificate."""
    assert callable(start_broker)
    edge_broker = start_broker()
    bundle = cloud.enrol("tx2-01")
    program = forwarder(tmp_path, edge_broker.url, cloud.outside_url, EDGE_ID="tx2-01", **bundle.settings)
    with TakingSide(cloud.url, client_id="cloud_saver") as saver, program as running:
        running.expect("cloud_broker_up", 1)
        running.expect("edge_broker_up", 1)
        with plain_client(edge_broker.port) as camera:
            publish(camera, "facedetection_topic", b"face")
        eventually(lambda: saver.payloads == [b"face"], what=lambda: str(saver.payloads))
        ends = certificate(bundle.cert).not_valid_after_utc.timestamp()
        assert running.figure("certificate_expires_timestamp_seconds") == ends
        assert "certificate" not in running.log_text()
    other = tmp_path / "other"
    other.mkdir()
    with forwarder(other, edge_broker.url, cloud.outside_url, EDGE_ID="tx2-02", **bundle.settings) as mistaken:
        mistaken.expect_line("refuses the subscription")


def test_the_bundle_s_certificate_lasts_two_years(cloud: CloudBroker) -> None:
    left = (ends_at(cloud.enrol("tx2-01").cert) or 0) - time.time()
    assert 729 * DAY < left < 731 * DAY


def test_settings_of_a_bundle_are_those_of_the_forwarder(tmp_path: Path) -> None:
    """What the script writes into .env is what compose hands on."""
    compose = (ROOT / "docker-compose.edge.yml").read_text()
    for name in Bundle(*[tmp_path] * 4).settings:
        assert f"{name}: ${{{name}:-}}" in compose

"""The cloud broker's certificates when a file of theirs is gone or spoilt: nothing is made anew in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.certificates import Authority
from tests.support.cloud_broker import IMAGE, ROOT, CloudBroker
from tests.support.outside import Outside

BROKER_USER = 10002
OWN = ("server.crt", "server.key", "server.ca.crt")

Spoil = Callable[[Path], None]


def dangle(file: Path) -> None:
    """As certbot's links do where the folder they lead to is not mounted."""
    file.unlink()
    file.symlink_to("/etc/letsencrypt/live/vm.example.org/fullchain.pem")


def become_a_folder(file: Path) -> None:
    """As Docker makes one where it is to mount a file that is not there."""
    file.unlink()
    file.mkdir()


def become_empty(file: Path) -> None:
    file.write_bytes(b"")


def become_rubbish(file: Path) -> None:
    file.write_bytes(b"<html>404</html>\n")


def vanish(file: Path) -> None:
    file.unlink()


SPOILT = [dangle, become_a_folder, become_empty, become_rubbish, vanish]


@pytest.fixture
def cloud(tmp_path: Path) -> CloudBroker:
    """Not running."""
    return CloudBroker(tmp_path / "cloud")


@pytest.fixture
def own(cloud: CloudBroker, tmp_path: Path) -> Path:
    """The folder with a certificate of one's own."""
    authority = Authority(tmp_path)
    pair = authority.issue("vm.example.org", days=90)
    folder = cloud.folder / "secrets"
    folder.mkdir()
    for name, file in zip(OWN, (pair.cert, pair.key, authority.cert), strict=True):
        shutil.copy(file, folder / name)
    return folder


def shown(cloud: CloudBroker) -> bytes | None:
    """The certificate that the broker reads."""
    file = cloud.pki / "live" / "server.crt"
    return file.read_bytes() if file.exists() else None


def prepare(cloud: CloudBroker) -> tuple[int, str]:
    done = cloud.run("prepare")
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("spoil", SPOILT)
def test_at_the_first_start_it_is_refused_and_named(cloud: CloudBroker, own: Path, name: str, spoil: Spoil) -> None:
    spoil(own / name)
    status, said = prepare(cloud)
    assert status == 1
    assert f"{own / name}: " in said
    assert shown(cloud) is None
    done = cloud.run("broker")
    assert done.returncode == 1
    assert f"{own / name}: " in done.stderr.decode()


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("spoil", SPOILT)
def test_later_on_the_last_good_one_stays(cloud: CloudBroker, own: Path, name: str, spoil: Spoil) -> None:
    """This is what the daily run does; the broker is not told to read anything anew."""
    certificate = (own / "server.crt").read_bytes()
    assert prepare(cloud)[0] == 0
    spoil(own / name)
    status, said = prepare(cloud)
    assert status == 1
    assert f"{own / name}: " in said
    assert shown(cloud) == certificate
    # An edge that was enrolled now would get the wrong CA to trust.
    done = cloud.run("enrol", "tx2-01")
    assert done.returncode == 1
    assert f"{own / name}: " in done.stderr.decode()


def test_all_of_it_gone_is_told_too(cloud: CloudBroker, own: Path) -> None:
    """Edges trust the other CA, so that the broker's own one would lock them out."""
    certificate = (own / "server.crt").read_bytes()
    assert prepare(cloud)[0] == 0
    shutil.rmtree(own)
    status, said = prepare(cloud)
    assert status == 1
    assert f"{own}/server.crt: is gone" in said
    assert shown(cloud) == certificate
    (cloud.pki / "live" / "own").unlink()  # as it says
    assert prepare(cloud) == (0, "")
    assert shown(cloud) != certificate


def test_a_key_with_a_password_is_refused_and_nothing_is_asked_for(cloud: CloudBroker, own: Path) -> None:
    encrypt = ("openssl", "pkey", "-aes256", "-passout", "pass:secret")
    subprocess.run([*encrypt, "-in", own / "server.key", "-out", own / "new"], check=True, capture_output=True)
    (own / "new").rename(own / "server.key")
    status, said = prepare(cloud)
    assert status == 1
    assert f"{own / 'server.key'}: holds no key without password" in said


def test_a_ca_that_did_not_sign_it_is_told(cloud: CloudBroker, own: Path, tmp_path: Path) -> None:
    shutil.copy(Authority(tmp_path, "other").cert, own / "server.ca.crt")
    status, said = prepare(cloud)
    assert status == 0
    assert "did not sign" in said


def test_a_renewed_one_is_taken(cloud: CloudBroker, own: Path, tmp_path: Path) -> None:
    assert prepare(cloud) == (0, "")
    pair = Authority(tmp_path, "next").issue("renewed", days=90)
    shutil.copy(pair.cert, own / "server.crt")
    assert prepare(cloud)[0] == 1  # its key has not come yet
    shutil.copy(pair.key, own / "server.key")
    shutil.copy(tmp_path / "next.pem", own / "server.ca.crt")
    assert prepare(cloud) == (0, "")
    assert shown(cloud) == pair.cert.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
@pytest.mark.parametrize("mode", [0o700, 0o600])
def test_a_folder_or_file_that_the_broker_s_user_cannot_read_is_named(
    cloud: CloudBroker, own: Path, tmp_path: Path, mode: int
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    os.chown(cloud.pki, BROKER_USER, BROKER_USER)
    is_folder = mode == 0o700
    (own if is_folder else own / "server.crt").chmod(mode)
    for name in ("identities", "certificates.sh"):
        shutil.copy(IMAGE / name, cloud.folder)
    user = ("setpriv", f"--reuid={BROKER_USER}", f"--regid={BROKER_USER}", "--clear-groups")
    done = subprocess.run(
        [*user, "sh", str(cloud.folder / "identities"), "prepare"],
        env=cloud.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (f"{own}: " if is_folder else f"{own}/server.crt: cannot be read by user {BROKER_USER}") in done.stderr
    assert shown(cloud) is None


def test_shellcheck_has_no_objections() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    scripts = (IMAGE / "identities", IMAGE / "certificates.sh")
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# -- the CA -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
@pytest.mark.parametrize("spoil", SPOILT)
def test_a_ca_that_is_not_whole_is_never_made_anew(cloud: CloudBroker, name: str, spoil: Spoil) -> None:
    assert prepare(cloud) == (0, "")
    cloud.enrol("tx2-01")
    before = {other: (cloud.pki / other).read_bytes() for other in ("ca.crt", "ca.key") if other != name}
    certificate = shown(cloud)
    spoil(cloud.pki / name)
    status, said = prepare(cloud)
    assert status == 1
    assert f"{cloud.pki / name}: " in said
    assert "no new one is made" in said
    assert {other: (cloud.pki / other).read_bytes() for other in before} == before
    assert shown(cloud) == certificate


@pytest.mark.parametrize("spoil", [become_empty, vanish])
def test_a_list_of_edges_that_is_gone_lets_no_revoked_edge_in(cloud: CloudBroker, spoil: Spoil) -> None:
    """The revocation list is made of it."""
    assert prepare(cloud) == (0, "")
    cloud.enrol("tx2-01")
    assert cloud.run("revoke", "tx2-01").returncode == 0
    spoil(cloud.pki / "index.txt")
    status, said = prepare(cloud)
    assert status == 1
    assert f"{cloud.pki}/index.txt: " in said
    assert len(list(x509.load_pem_x509_crl((cloud.pki / "crl.pem").read_bytes()))) == 1


def test_certificate_and_key_both_gone_are_no_first_start(cloud: CloudBroker) -> None:
    assert prepare(cloud) == (0, "")
    (cloud.pki / "ca.crt").unlink()
    (cloud.pki / "ca.key").unlink()
    status, said = prepare(cloud)
    assert status == 1
    assert f"{cloud.pki}/ca.crt: cannot be read: it is missing" in said


@pytest.mark.parametrize("left", [["ca.key.new"], ["ca.key.new", "ca.new"], ["ca.key", "ca.new"]])
def test_a_first_start_that_broke_off_is_taken_up_again(cloud: CloudBroker, tmp_path: Path, left: list[str]) -> None:
    whole = CloudBroker(tmp_path / "whole")
    assert whole.run("prepare").returncode == 0
    (cloud.pki / "index.txt").write_text("")
    for name in left:
        shutil.copy(whole.pki / ("ca.key" if "key" in name else "ca.crt"), cloud.pki / name)
    assert prepare(cloud) == (0, "")
    with cloud, Outside(cloud.outside_port, cloud.enrol("tx2-01").context()) as client:
        assert client.reason == 0


def test_the_broker_s_own_server_certificate_is_made_anew_where_it_is_spoilt(cloud: CloudBroker) -> None:
    """By the same CA, so that edges go on."""
    assert prepare(cloud) == (0, "")
    for name in ("server.key", "server.crt"):
        become_empty(cloud.pki / "live" / name)
        assert prepare(cloud) == (0, "")
        with cloud, Outside(cloud.outside_port, cloud.enrol(f"by-{name[-3:]}").context()) as client:
            assert client.reason == 0

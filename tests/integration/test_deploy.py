"""What sets up the machines: user data that cloud-init takes, scripts without the usual slips, units systemd takes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
USER_DATA = DEPLOY / "cloud-init.yaml"


@pytest.fixture(scope="session")
def cloud_init(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command cloud-init: this machine's, or out of the distribution's package, which is not installed for it.

    Installed, it would take over the machine's set-up at the next start.
    """
    if found := shutil.which("cloud-init"):
        return [found]
    if not shutil.which("apt-get"):
        pytest.skip("cloud-init is not there, and no apt-get that would fetch it")
    folder = tmp_path_factory.mktemp("cloud-init")
    subprocess.run(["apt-get", "download", "-qq", "cloud-init"], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    return ["env", f"PYTHONPATH={folder}/usr/lib/python3/dist-packages", sys.executable, "-m", "cloudinit.cmd.main"]


def schema_check(cloud_init: list[str], file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*cloud_init, "schema", "--config-file", str(file)], capture_output=True, text=True, check=False
    )


@pytest.mark.xdist_group("cloud-init")  # which is unpacked once
def test_cloud_init_finds_its_user_data_valid(cloud_init: list[str]) -> None:
    """By cloud-init's own check, which also tells what is deprecated."""
    done = schema_check(cloud_init, USER_DATA)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deprecat" not in (done.stdout + done.stderr).lower()


@pytest.mark.xdist_group("cloud-init")  # which is unpacked once
def test_cloud_init_would_tell_a_slip(cloud_init: list[str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(USER_DATA.read_text().replace("size: 1073741824", "size: [1]"))
    assert schema_check(cloud_init, wrong).returncode == 1


def test_user_data_holds_no_secret_and_is_small_enough() -> None:
    """Any program on the machine can ask for it. 64 KiB is IBM Cloud's limit, 16 KiB the least of the large clouds."""
    text = USER_DATA.read_text()
    assert len(text) < 16 * 1024
    for name in ("COS_API_KEY_ID", "COS_HMAC", "PRIVATE KEY", "PASSWORD="):
        assert name not in text


def test_user_data_names_only_settings_that_compose_knows() -> None:
    """A misspelt one would be silently ignored."""
    (settings,) = [
        file for file in yaml.safe_load(USER_DATA.read_text())["write_files"] if file["path"].endswith(".env")
    ]
    names = [line.partition("=")[0] for line in settings["content"].splitlines() if "=" in line and line[0] != "#"]
    used = (ROOT / "docker-compose.cloud.yml").read_text()
    assert [name for name in names if f"${{{name}:-" not in used] == ["REPOSITORY", "REVISION"]


def test_shellcheck_has_no_objections() -> None:
    scripts = [*DEPLOY.glob("*.sh"), *(ROOT / "dev" / "scripts").glob("*.sh")]
    assert len(scripts) >= 5
    command = (str(Path(sys.executable).with_name("shellcheck")), *map(str, scripts))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_scripts_in_user_data_are_sound_too(tmp_path: Path) -> None:
    (script,) = [command[2] for command in yaml.safe_load(USER_DATA.read_text())["runcmd"] if command[0] == "bash"]
    # What `bash -euc` says is said here by the first line.
    (tmp_path / "script.sh").write_text(f"#!/bin/bash -eu\n# shellcheck disable=SC1091,SC2154\n{script}")
    command = (str(Path(sys.executable).with_name("shellcheck")), str(tmp_path / "script.sh"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in DEPLOY.glob("*.service"):
        # Where the checkout is, and programs that this machine need not have.
        text = unit.read_text().replace("@CHECKOUT@", str(ROOT))
        text = text.replace("/usr/sbin/nft", "/bin/true").replace("/usr/bin/docker", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    shutil.copy(DEPLOY / "facedetection-update.timer", tmp_path)
    units = [str(unit) for unit in tmp_path.iterdir()]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if "facedetection" in line] == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the script of the TX2 looks at."""
    shutil.copytree(DEPLOY, tmp_path / "checkout/deploy")
    shutil.copy(ROOT / ".env.edge.example", tmp_path / "checkout")
    return tmp_path / "checkout"


def run_tx2(checkout: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and output of the TX2's script."""
    command = (str(checkout / "deploy/tx2.sh"), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def step(checkout: Path, script: str, **variables: str) -> tuple[int, str]:
    """The same of single steps of it, by its own functions; as a whole it would change this machine."""
    command = ("bash", "-c", f'. "$0/deploy/tx2.sh"; {script}', str(checkout))
    environment = {**os.environ, "PLUGINS": str(checkout / "plugins"), **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


def test_checking_the_tx2_changes_nothing(checkout: Path) -> None:
    """And its exit status says whether there is something to do."""
    before = sorted(checkout.rglob("*"))
    status, said = run_tx2(checkout, "--check")
    assert status == 1
    assert "TO DO    .env is there" in said
    assert "are free" in said
    assert sorted(checkout.rglob("*")) == before


def test_a_compose_plugin_that_is_not_the_expected_one_is_not_installed(checkout: Path, tmp_path: Path) -> None:
    """Whoever has put another file in its place would otherwise be root on the device."""
    (tmp_path / "forged").write_text("#!/bin/sh\ntouch /tmp/owned\n")
    status, said = step(checkout, "install_compose", COMPOSE_URL=(tmp_path / "forged").as_uri())
    assert status == 1
    assert "FAILED" in said
    assert not (checkout / "plugins").exists()


def test_the_expected_compose_plugin_is_installed_for_all_users(checkout: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text("#!/bin/sh\necho v2\n")
    known = f"compose_sums='{hashlib.sha256(plugin.read_bytes()).hexdigest()} '$(uname -m)"
    # Its folder is the test's own here.
    script = f'{known}; as_root() {{ "$@"; }}; umask 077; install_compose'
    assert step(checkout, script, COMPOSE_URL=plugin.as_uri()) == (0, "")
    installed = checkout / "plugins/docker-compose"
    assert installed.read_bytes() == plugin.read_bytes()
    assert installed.stat().st_mode & 0o777 == 0o755


def test_settings_are_mended_once_and_others_stay(checkout: Path) -> None:
    """A second run finds nothing to do."""
    env = checkout / ".env"
    env.write_text("EDGE_ID=mine\nVIDEO_GID=99\n# mine\n")
    both = "see_to a settings_are_there copy_settings; group=27; see_to b camera_group_is_set set_camera_group"
    assert step(checkout, both) == (0, "ok       a\nmended   b\n")
    assert step(checkout, both) == (0, "ok       a\nok       b\n")
    assert env.read_text() == "EDGE_ID=mine\nVIDEO_GID=27\n# mine\n"


def test_settings_begin_as_the_example(checkout: Path) -> None:
    """Which nobody else may read, as a person will add to it."""
    assert step(checkout, "see_to a settings_are_there copy_settings") == (0, "mended   a\n")
    assert (checkout / ".env").read_text() == (ROOT / ".env.edge.example").read_text()
    assert (checkout / ".env").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_mended_is_told(checkout: Path) -> None:
    status, said = step(checkout, 'see_to "the moon is full" false false; exit $wrong')
    assert (status, said) == (1, "TO DO    the moon is full: could not be mended, see above\n")


def test_an_unknown_option_of_the_tx2_script_is_refused(checkout: Path) -> None:
    assert run_tx2(checkout, "--chekc") == (2, "usage: deploy/tx2.sh [--check]\n")

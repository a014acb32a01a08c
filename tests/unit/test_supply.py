"""What the images are made of: pinned, with hashes, and only from where they should come."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.scripts import script

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted([*ROOT.glob("*/Dockerfile"), *ROOT.glob("dev/*/Dockerfile")])


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, Path]:
    """The script of the locks upon a copy of the project, and the forwarder's lock there."""
    lock = script("lock")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path in lock.wanted():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    return lock, tmp_path / "edge_forwarder/requirements.lock"


def test_the_locks_agree_with_the_project() -> None:
    assert list(script("lock").problems()) == []


def test_a_requirement_that_is_not_locked_is_told(copy: tuple[ModuleType, Path]) -> None:
    """Whether it is new, or its version has moved."""
    lock, _ = copy
    project = lock.ROOT / "pyproject.toml"
    text = project.read_text().replace("paho-mqtt>=2.2,<3", "paho-mqtt>=99").replace("prometheus-client>", "something>")
    project.write_text(text)
    told = [problem for problem in lock.problems() if "edge_forwarder" in problem]
    assert re.fullmatch(r"edge_forwarder/requirements.lock has [\d.]+ for paho-mqtt>=99", told[0])
    assert told[1].startswith("edge_forwarder/requirements.lock has no version for something>=")


def test_two_versions_of_one_package_are_told(copy: tuple[ModuleType, Path]) -> None:
    """As when one lock was made anew and the others were not."""
    lock, path = copy
    path.write_text(re.sub(r"^pydantic==\S+", "pydantic==1.2.3", path.read_text(), flags=re.MULTILINE))
    told = [problem for problem in lock.problems() if "pydantic 1.2.3" in problem]
    assert told
    assert all(problem.endswith("make lock") for problem in told)


def test_a_lock_without_a_hash_or_without_a_version_is_told(copy: tuple[ModuleType, Path]) -> None:
    """Of all or of none: pip would not install the others either."""
    lock, path = copy
    path.write_text("paho-mqtt==2.2.0\n")
    with pytest.raises(
        ValueError, match=r"edge_forwarder/requirements\.lock: no version with hashes: 'paho-mqtt==2\.2\.0'"
    ):
        list(lock.problems())


def test_a_lock_that_is_missing_is_told(copy: tuple[ModuleType, Path]) -> None:
    lock, path = copy
    path.unlink()
    assert "edge_forwarder/requirements.lock is not there" in list(lock.problems())


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_images_are_based_on_one_release_of_alpine(dockerfile: Path) -> None:
    """A release, not `latest`; not a digest either, which would keep the release's security updates out."""
    bases = re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.MULTILINE)
    assert set(bases) == {"alpine:3.23"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_pip_installs_into_images_only_what_has_the_hash_that_was_written_down(dockerfile: Path) -> None:
    commands = dockerfile.read_text().replace("\\\n", " ")
    installs = re.findall(r"pip install\b[^&\n]*", commands)
    assert [command for command in installs if "--require-hashes" not in command] == []
    assert [command for command in installs if "--only-binary=:all:" not in command] == []
    assert not re.search(r"\b(curl|wget) [^&]*https", commands)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_from_sources_comes_into_images_only_what_has_no_wheels(dockerfile: Path) -> None:
    """Built by what is locked as well, and without a compiler."""
    commands = dockerfile.read_text().replace("\\\n", " ")
    built = [line for line in re.findall(r"pip install\b[^&\n]*", commands) if "--no-binary" in line]
    assert [re.findall(r"--no-binary=(\S+)", line) for line in built] == [[",".join(script("lock").SOURCES)]] * len(
        built
    )
    assert all("--no-build-isolation" in line for line in built)
    assert not re.search(r"\b(gcc|g\+\+|clang|build-base|musl-dev|python3-dev)\b", commands)
    assert bool(built) == ("ibm-cos-sdk" in "".join(path.read_text() for path in dockerfile.parent.glob("*.lock")))


@pytest.mark.xdist_group("bill of materials")  # the schema is read once
def test_the_bill_of_materials_names_what_is_locked(tmp_path: Path) -> None:
    """With hashes, in the form that other tools read."""
    path = tmp_path / "edge_forwarder.cdx.json"
    script("sbom").write(path, "edge_forwarder", packages="P:musl\nV:1.2.5-r21\nA:aarch64\nL:MIT\n\n")
    bill = json.loads(path.read_text())
    components = {component["name"]: component for component in bill["components"]}
    locked = script("lock").pins(ROOT / "edge_forwarder/requirements.lock")
    assert {name: components[name]["version"] for name in locked} == locked
    assert components["paho-mqtt"]["purl"].startswith("pkg:pypi/paho-mqtt@")
    assert components["paho-mqtt"]["externalReferences"][0]["hashes"]
    assert components["musl"]["purl"] == "pkg:apk/alpine/musl@1.2.5-r21?arch=aarch64"
    assert bill["metadata"]["component"]["name"] == "edge_forwarder"


@pytest.mark.xdist_group("bill of materials")  # the schema is read once
def test_a_bill_of_materials_that_no_tool_would_read_is_not_written(tmp_path: Path) -> None:
    """By CycloneDX's own schema: nothing can be there twice."""
    path = tmp_path / "edge_forwarder.cdx.json"
    with pytest.raises(ValueError, match="is not valid CycloneDX"):
        script("sbom").write(path, "edge_forwarder", packages="P:musl\nV:1.2.5-r21\n\n" * 2)
    assert not path.exists()

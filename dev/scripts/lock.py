"""Pins the packages that pip installs into the images, with hashes: a `requirements.lock` in each image's folder.

The lock of `object_store` pins the tools that build the few packages that come as sources alone.

dev/scripts/lock.py            resolve anew, to the newest versions that pyproject.toml allows
dev/scripts/lock.py --check    say whether the locks agree with pyproject.toml; needs no network
dev/scripts/lock.py --audit    ask PyPI for known weaknesses of the locked versions
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Alpine's. The hashes are those of all wheels of a version, for every platform and every later Python.
PYTHON = "3.12"
BIN = Path(sys.executable).parent
# Of these there are no wheels; they are pure Python, and built in the image's build stage.
SOURCES = ("ibm-cos-sdk", "ibm-cos-sdk-core", "ibm-cos-sdk-s3transfer")
# Alpine's own packages in the image, as OpenCV has no wheels for musl.
ALPINES = ("numpy", "opencv-python-headless")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)[^\n]*\\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def wanted() -> dict[Path, list[str]]:
    """The requirements that each lock is made of."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = told["project"]
    extras, common = project["optional-dependencies"], project["dependencies"]
    return {
        ROOT / "edge_face_detection/requirements.lock": common
        + [each for each in extras["edge_face_detection"] if Requirement(each).name not in ALPINES],
        ROOT / "edge_forwarder/requirements.lock": common + extras["edge_forwarder"],
        ROOT / "cloud_saver/requirements.lock": common + extras["cloud_saver"],
        ROOT / "cloud_gallery/requirements.lock": common + extras["cloud_gallery"],
        ROOT / "dev/demo_s3/requirements.lock": extras["s3_server"],
        ROOT / "object_store/requirements.lock": told["build-system"]["requires"],
    }


def pins(lock: Path) -> dict[str, str]:
    """Name and version of everything in a lock.

    Raises ValueError where a line is not pinned with a hash: pip would then install nothing at all.
    """
    text = lock.read_text()
    found: dict[str, str] = {canonicalize_name(name): version for name, version, _ in _PIN.findall(text)}
    left = [line for line in _PIN.sub("", text).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if left:
        raise ValueError(f"{lock.relative_to(ROOT)}: no version with hashes: {left[0]!r}")
    return found


def problems() -> Iterator[str]:
    """Each disagreement of a lock with pyproject.toml, or with another lock."""
    versions: dict[str, tuple[str, Path]] = {}
    for lock, requirements in wanted().items():
        name = lock.relative_to(ROOT)
        if not lock.is_file():
            yield f"{name} is not there"
            continue
        pinned = pins(lock)
        for requirement in map(Requirement, requirements):
            version = pinned.get(canonicalize_name(requirement.name))
            if version is None or version not in requirement.specifier:
                yield f"{name} has {version or 'no version'} for {requirement}"
        for package, version in pinned.items():
            other, there = versions.setdefault(package, (version, name))
            if version != other:
                yield f"{name} has {package} {version}, and {there} has {other}: make lock"


def resolve() -> None:
    """Write the locks, and check that VM and TX2 can install everything in them without a compiler."""
    uv: tuple[str, ...] = (str(BIN / "uv"), "pip")
    sources = [option for name in SOURCES for option in ("--no-binary", name)]
    only: tuple[str, ...] = ("--quiet", "--no-config", "--python-version", PYTHON, "--only-binary", ":all:", *sources)
    for lock, requirements in wanted().items():
        output = ("--universal", "--upgrade", "--generate-hashes", "--no-annotate", "--no-header")
        command = (*uv, "compile", *only, *output)
        asked = "\n".join(requirements)
        done = subprocess.run((*command, "-"), input=asked, text=True, stdout=subprocess.PIPE, check=True)
        what = f"What pip installs into the image {lock.parent.name}"
        if lock.parent.name == "object_store":
            what = "What builds ibm-cos-sdk in the images, and stays out of them"
        lock.write_text(f"# {what}. Made by `make lock`.\n{done.stdout}")
        with TemporaryDirectory() as nowhere:
            _check_sources(lock, Path(nowhere))
            for machine in ("x86_64", "aarch64"):
                platform = ("--python-platform", f"{machine}-unknown-linux-musl", "--target", nowhere, "-r", str(lock))
                subprocess.run((*uv, "install", *only, "--dry-run", "--require-hashes", *platform), check=True)
        print(f"{lock.relative_to(ROOT)}: {', '.join(f'{name} {version}' for name, version in pins(lock).items())}")


def _check_sources(lock: Path, folder: Path) -> None:
    """Build them, with the hashes of the lock. Raises ValueError if the result is not for every machine."""
    pinned = [found[0] for found in _PIN.finditer(lock.read_text()) if canonicalize_name(found[1]) in SOURCES]
    if not pinned:
        return
    (folder / "sources.txt").write_text("".join(pinned))
    build = ("wheel", "--quiet", "--no-deps", "--no-binary=:all:", "--require-hashes", "--wheel-dir", folder)
    subprocess.run((BIN / "pip", *build, "-r", folder / "sources.txt"), check=True)
    if special := [wheel.name for wheel in folder.glob("*.whl") if not wheel.name.endswith("-none-any.whl")]:
        raise ValueError(f"{lock.relative_to(ROOT)}: {', '.join(special)} would need a compiler")


def audit() -> int:
    """0 when no weakness of the locked versions is known, 1 when one is, 3 when PyPI could not be asked."""
    locked = sorted({f"{name}=={version}" for lock in wanted() for name, version in pins(lock).items()})
    options = ("--progress-spinner=off", "--format=json", "--no-deps", "--disable-pip", "-r", "/dev/stdin")
    command = (BIN / "pip-audit", *options)
    done = subprocess.run(command, input="\n".join(locked), text=True, capture_output=True, check=False)
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"NOT AUDITED: {(done.stderr.strip() or 'pip-audit says nothing').splitlines()[-1]}", file=sys.stderr)
        return 3
    found = [(answer["name"], answer["version"], each) for answer in answers for each in answer.get("vulns", ())]
    for name, version, weakness in found:
        mended = ", ".join(weakness["fix_versions"]) or "no version yet"
        print(f"{name} {version}: {weakness['id']}; mended in {mended}: make lock", file=sys.stderr)
    if unknown := [answer["name"] for answer in answers if "skip_reason" in answer]:
        print(f"NOT AUDITED: PyPI's list of weaknesses did not tell about {', '.join(unknown)}", file=sys.stderr)
    return 1 if found else 3 if unknown else 0


def main(argv: list[str]) -> int:
    if argv == ["--check"]:
        found = list(problems())
        print(*(f"{problem}: make lock" for problem in found), sep="\n", end="\n" if found else "", file=sys.stderr)
        return bool(found)
    if argv == ["--audit"]:
        return audit()
    resolve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A virtual machine for tests that need cameras: the host's files, read-only, and a kernel with the drivers.

    python -m tests.camera.machine COMMAND...

runs a command in it, in this folder, and ends with its exit status. QEMU emulates the machine throughout, so that it
runs alike wherever QEMU does, in containers and in virtual machines too. It has no network, and nothing written in it
stays; /dev/shm is where something can be.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# What the kernel is to have besides what is built into it; their dependencies come along.
MODULES = ["virtio_pci", "9pnet_virtio", "9p", "vivid", "uvcvideo", "vhci-hcd"]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge_face_detection"
INIT = Path(__file__).with_name("init.sh")
EXIT_PORT = 0xF4  # where QEMU's device isa-debug-exit is, for init.sh
STATUS_ADDS = 16  # likewise
PACKAGE = "linux-image-amd64"
LIMIT_SECONDS = 1200


class MachineError(Exception):
    """The machine cannot be had; the message says what to do."""


def run(command: list[str]) -> int:
    """Run the command in the machine, its output going to stdout; return its exit status. Raises MachineError."""
    if platform.machine() != "x86_64":
        raise MachineError(f"these tests run on x86_64 only, since {PACKAGE} does, not on {platform.machine()}")
    for program in ("qemu-system-x86_64", "busybox", "apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise MachineError(
                f"{program} is missing: these tests run on Debian and what is made from it, with the packages"
                " qemu-system-x86 and busybox-static"
            )
    kernel = _kernel()
    with tempfile.TemporaryDirectory(prefix="machine.") as scratch:
        initramfs = Path(scratch, "initramfs")
        _make_initramfs(kernel, initramfs, command)
        log = Path(scratch, "kernel.log")
        try:
            done = subprocess.run(
                _qemu(kernel / "vmlinuz", initramfs, log), stdin=subprocess.DEVNULL, check=False, timeout=LIMIT_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise MachineError(f"the machine has not ended within {LIMIT_SECONDS} s: is this one too busy?") from None
        # isa-debug-exit ends QEMU with twice the number and one, to which init.sh adds: QEMU's own failures end with 1.
        status = (done.returncode - 1) // 2 - STATUS_ADDS
        if status < 0 or done.returncode % 2 == 0:
            tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
            raise MachineError(f"the machine ended before its command did; the last its kernel said:\n{tail}")
        return status


def _qemu(kernel: Path, initramfs: Path, log: Path) -> list[str]:
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G"),
        *("-kernel", str(kernel), "-initrd", str(initramfs)),
        *("-append", "console=ttyS0 panic=-1 mitigations=off vivid.node_types=1"),
        *("-serial", f"file:{log}", "-serial", "stdio"),
        *("-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x4"),
        *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
    ]


def _kernel() -> Path:
    """A folder with `vmlinuz` and `lib/modules`, from Debian's package, which is not installed. Raises MachineError."""
    depends = subprocess.run(["apt-cache", "depends", PACKAGE], capture_output=True, text=True, check=False).stdout
    name = next((line.split()[-1] for line in depends.splitlines() if " Depends: linux-image" in line), None)
    if name is None:
        raise MachineError(f"apt knows no package {PACKAGE}: try apt-get update; these tests need Debian's kernel")
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            _fetch(name, Path(scratch))
            Path(scratch, "wanted").rename(folder)
    return folder


def _fetch(package: str, scratch: Path) -> None:
    print(f"{package} is fetched, once, into {CACHE} (70 MB)", flush=True)
    try:
        subprocess.run(["apt-get", "download", "-qq", package], cwd=scratch, check=True)
        subprocess.run(["dpkg-deb", "-x", *scratch.glob("*.deb"), "tree"], cwd=scratch, check=True)
        version = next((scratch / "tree/lib/modules").iterdir()).name
        subprocess.run(["busybox", "depmod", "-b", scratch / "tree", version], check=True)
    except (subprocess.CalledProcessError, StopIteration) as error:
        raise MachineError(f"{package} cannot be fetched: try apt-get update ({error})") from error
    modules = Path("lib/modules", version)
    needs = dict(line.split(":", 1) for line in (scratch / "tree" / modules / "modules.dep").read_text().splitlines())
    wanted = {Path(file).stem.split(".")[0]: file for file in needs}
    keep = set()
    for name in MODULES:
        keep |= {wanted[name], *needs[wanted[name]].split()}
    for file in [*(modules / file for file in keep), modules / "modules.dep"]:
        target = scratch / "wanted" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scratch / "tree" / file, target)
    shutil.copy(next((scratch / "tree/boot").glob("vmlinuz-*")), scratch / "wanted/vmlinuz")


def _make_initramfs(kernel: Path, target: Path, command: list[str]) -> None:
    tree = target.with_name("tree")
    shutil.copytree(kernel / "lib", tree / "lib")
    for folder in ("bin", "host"):
        (tree / folder).mkdir()
    shutil.copy(shutil.which("busybox") or "", tree / "bin/busybox")
    (tree / "init").write_text(
        INIT.read_text()
        .replace("@MODULES@", " ".join(MODULES))
        .replace("@PATH@", shlex.quote(os.environ["PATH"]))
        .replace("@COMMAND@", shlex.quote(f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(command)}"))
    )
    (tree / "init").chmod(0o755)
    names = b"\0".join(bytes(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with target.open("wb") as file:
        subprocess.run(
            ["busybox", "cpio", "-o0", "-H", "newc"],
            cwd=tree,
            input=names,
            stdout=file,
            stderr=subprocess.DEVNULL,
            check=True,
        )


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except MachineError as error:
        sys.exit(f"{error}")

"""Writes the parts of each image into sbom/IMAGE.cdx.json (CycloneDX): `make sbom`.

Python's packages come from the lock, Alpine's out of the image itself, which has to be built for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).parents[2]
# apk's file, before and since /lib became a part of /usr.
INSTALLED = "cat /lib/apk/db/installed 2>/dev/null || cat /usr/lib/apk/db/installed"
TOOL = str(Path(sys.executable).with_name("cyclonedx-py"))


def write(path: Path, image: str, packages: str) -> None:
    """Writes the bill of materials of an image; `packages` is the content of apk's `lib/apk/db/installed`.

    Raises ValueError if the result is not valid by CycloneDX's schema.
    """
    lock = ROOT / image / "requirements.lock"
    # Validated below, with Alpine's packages; loading the schema takes the tool two seconds.
    command = (TOOL, "requirements", "--no-validate", "--output-reproducible", "--sv", "1.6", "--of", "JSON", "-")
    locked = lock.read_bytes() if lock.is_file() else b""
    bill = json.loads(subprocess.run(command, input=locked, stdout=subprocess.PIPE, check=True).stdout)
    bill["metadata"]["component"] = {"type": "container", "name": image, "bom-ref": image}
    bill.setdefault("components", []).extend(_alpine(packages))
    bill["dependencies"] = [{"ref": image, "dependsOn": [each["bom-ref"] for each in bill["components"]]}]
    text = json.dumps(bill, indent=2) + "\n"
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"the bill of materials of {image} is not valid CycloneDX: {problem}")
    path.write_text(text)


def _alpine(packages: str) -> Iterator[dict[str, Any]]:
    for block in packages.split("\n\n"):
        fields = dict(line.split(":", 1) for line in block.splitlines() if line[1:2] == ":")
        if {"P", "V"} <= fields.keys():
            arch = {"arch": fields["A"]} if "A" in fields else None
            purl = PackageURL("apk", "alpine", fields["P"], fields["V"], arch).to_string()
            licence = [{"license": {"name": fields["L"]}}] if fields.get("L") else []
            common = {"type": "library", "name": fields["P"], "version": fields["V"]}
            yield {**common, "bom-ref": purl, "purl": purl, "licenses": licence}


def main() -> int:
    """0 if all is in the bills, 1 where Alpine's packages are not."""
    (ROOT / "sbom").mkdir(exist_ok=True)
    missing = []
    for folder in sorted(each.parent for each in ROOT.glob("*/Dockerfile")):
        image = folder.name
        command = ("docker", "run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", INSTALLED)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            packages = done.stdout if done.returncode == 0 else ""
        except FileNotFoundError:
            packages = ""
        if not packages:
            missing.append(image)
        write(ROOT / "sbom" / f"{image}.cdx.json", image, packages)
        print(f"sbom/{image}.cdx.json")
    if missing:
        print(f"WITHOUT Alpine's packages: {', '.join(missing)}; build the images first", file=sys.stderr)
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())

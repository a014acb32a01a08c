"""Writes the tables of all settings into docs/settings.md; `--check` only says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from cloud_gallery.settings import GallerySettings
from cloud_saver.settings import SaverSettings
from edge_face_detection.settings import DetectorSettings
from edge_forwarder.settings import ForwarderSettings
from face_messages.service.settings import Listed, ProgramSettings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
BEGIN, END = "<!-- settings: make docs -->", "<!-- end of settings -->"

PROGRAMS: dict[str, type[ProgramSettings]] = {
    "edge_face_detection": DetectorSettings,
    "edge_forwarder": ForwarderSettings,
    "cloud_saver": SaverSettings,
    "cloud_gallery": GallerySettings,
}


def tables() -> str:
    common = {setting.variable for setting in ProgramSettings.listed()}
    parts = [_table("All programs", ProgramSettings.listed())]
    for name, settings in PROGRAMS.items():
        parts.append(_table(f"`{name}`", [s for s in settings.listed() if s.variable not in common]))
    return "\n".join(parts)


def _table(title: str, settings: list[Listed]) -> str:
    rows = [f"## {title}", "", "| setting | default | what it is |", "| --- | --- | --- |"]
    for setting in settings:
        default = "**required**" if setting.default == "required" else f"`{setting.default}`" if setting.default else ""
        secret = " *(secret)*" if setting.secret else ""
        rows.append(f"| `{setting.variable}` | {default} | {setting.description}{secret} |")
    return "\n".join(rows) + "\n"


def main(argv: list[str], page: Path = PAGE) -> int:
    text = page.read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    current = f"{head}{BEGIN}\n\n{tables()}\n{END}{tail}"
    if "--check" in argv:
        if current != text:
            print(f"{page.name}: the tables of settings are out of date; run `make docs`", file=sys.stderr)
        return int(current != text)
    page.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

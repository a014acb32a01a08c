"""README, docs and the top of the tree: short lines, links that lead somewhere, nothing that lies about."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.scripts import script

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("dev/**/*.md")])
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]*)\)")
FOLDERS = {
    "edge_face_detection",
    "edge_mqtt_broker",
    "edge_forwarder",
    "cloud_mosquitto",
    "cloud_rabbitmq",
    "cloud_saver",
    "cloud_gallery",
    "object_store",
    "face_messages",
    "tests",
    "docs",
    "deploy",
    "dev",
    "compose",
}
FILES = {
    "docker-compose.edge.yml",
    "docker-compose.cloud.yml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "SECURITY.md",
    "Makefile",
    "pyproject.toml",
}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def outside_fences(text: str) -> list[str]:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = [line.lstrip("#").strip() for line in outside_fences(page.read_text()) if re.match(r"#+ ", line)]
    texts = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_are_at_most_120_characters_long(page: Path) -> None:
    """Code too. Rows of tables and addresses of links cannot be broken."""
    long = [line for line in outside_fences(page.read_text()) if len(line) > 120]
    assert [line for line in long if not line.startswith("|") and not re.match(r"\[\w+\]: https://\S+$", line)] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file or folder, and to a heading in it where one is named."""
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


def test_the_first_screen_has_a_sentence_two_commands_a_picture_and_the_services() -> None:
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:20])
    assert len(re.findall(r"^    make ", first, re.MULTILINE)) == 2
    assert "](docs/path.svg)" in first
    assert set(re.findall(r"^\| \[`(\w+)`\]", first, re.MULTILINE)) == {
        name for name in FOLDERS if name.startswith(("edge_", "cloud_"))
    }


def test_at_the_top_there_is_nothing_but_the_system() -> None:
    """Files whose names begin with a dot are for tools."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    top = {path.split("/")[0] for path in listed.stdout.decode().split("\0") if path}
    assert {name for name in top if not name.startswith(".")} == FOLDERS | FILES


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=named)
def test_commands_on_the_hosts_are_short(page: Path) -> None:
    """COMPOSE_FILE names the files. The demo alone, on one host, names its own."""
    commands = re.findall(r"docker compose -f .*", page.read_text())
    assert [line for line in commands if "compose/demo.yml" not in line and not re.search(r"yml up`", line)] == []


@pytest.mark.parametrize("name", ["edge", "cloud"])
def test_the_examples_name_compose_files_that_exist(name: str) -> None:
    text = (ROOT / f".env.{name}.example").read_text()
    (files,) = re.findall(r"^COMPOSE_FILE=(.*)$", text, re.MULTILINE)
    assert files.split(":")[0] == f"docker-compose.{name}.yml"
    mentioned = {*files.split(":"), *re.findall(r"compose/\w+\.yml", text)}
    assert [file for file in mentioned if not (ROOT / file).is_file()] == []


def test_the_page_of_the_settings_is_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the check notices when it is not."""
    settings_table = script("settings_table")
    assert settings_table.main(["--check"]) == 0
    old = tmp_path / "settings.md"
    old.write_text(settings_table.PAGE.read_text().replace("`EDGE_ID`", "`EDGE_NAME`"))
    assert settings_table.main(["--check"], old) == 1
    assert "make docs" in capsys.readouterr().err
    settings_table.main([], old)
    assert old.read_text() == settings_table.PAGE.read_text()

"""The alert rules, by Prometheus' own tool."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.support.metrics import ROOT, documented, used
from tests.support.prometheus import promtool

ALERTS = ROOT / "docs/alerts.yml"
TRIED = Path(__file__).with_name("alerts.yml")


def test_the_rules_are_well_formed() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_fires_when_it_should_and_not_otherwise() -> None:
    """As alerts.yml beside this file has it; and none is left out there."""
    done = promtool("test", "rules", str(TRIED))
    assert done.returncode == 0, done.stdout + done.stderr
    names = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
    assert names == set(re.findall(r'alertname(?:: |=")(\w+)', TRIED.read_text()))


def test_a_rule_that_never_fires_would_be_noticed(tmp_path: Path) -> None:
    """So this test bed can fail: each rule is turned off in turn."""
    rules = yaml.safe_load(ALERTS.read_text())
    tried = TRIED.read_text().replace("../../docs/alerts.yml", "rules.yml")
    (tmp_path / "tests.yml").write_text(tried)
    for rule in rules["groups"][0]["rules"]:
        expression = rule["expr"]
        rule["expr"] = f"({expression}) and vector(0) == 1"
        (tmp_path / "rules.yml").write_text(json.dumps(rules))  # which is YAML as well
        assert promtool("test", "rules", str(tmp_path / "tests.yml")).returncode != 0, rule["alert"]
        rule["expr"] = expression
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    assert promtool("test", "rules", str(tmp_path / "tests.yml")).returncode == 0


def test_the_rules_ask_for_nothing_that_does_not_exist() -> None:
    assert used(ALERTS.read_text()) <= documented()

"""Rules as promtool sees them: well-formed, and each alert seen to fire and not to fire."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from support.services.prometheus import promtool
from tidegate.observability import files

HERE = Path(__file__).resolve().parent
HOUSE = HERE.parent.parent
RULES = HOUSE / "src" / "tidegate" / "observability" / "rules.yml"


def checked(*args: str) -> None:
    done = subprocess.run([promtool(), *args], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules(kind: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def test_promtool_finds_the_rules_well_formed() -> None:
    checked("check", "rules", str(RULES))


def test_promtool_finds_that_each_rule_does_what_it_says() -> None:
    checked("test", "rules", str(HERE / "rules_test.yml"))


def test_every_alert_is_tested_both_ways() -> None:
    tested: dict[str, set[bool]] = {}
    for group in yaml.safe_load((HERE / "rules_test.yml").read_text())["tests"]:
        for case in group["alert_rule_test"]:
            tested.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert tested == {rule["alert"]: {True, False} for rule in rules("alert")}


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    for rule in rules("alert"):
        assert set(rule["annotations"]) == {"summary", "description", "action"}, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert f"`{rule['alert']}`" in (HOUSE / "docs" / "observability.md").read_text()


def test_the_dashboards_are_as_they_are_generated() -> None:
    argv = [sys.executable, str(HOUSE / "scripts" / "generate_dashboards.py"), "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_dashboards_query_only_series_that_rules_record() -> None:
    recorded = {rule["record"] for rule in rules("record")}
    for name, text in files.dashboards().items():
        expressions = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
        named = {found for expr in expressions for found in re.findall(r"\b[a-z_]+(?::[a-z0-9_]+)+\b", expr)}
        assert named <= recorded, name

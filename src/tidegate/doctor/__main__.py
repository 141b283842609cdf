"""`python -m tidegate.doctor`: what each configured part is like, a line each. Run by `tidegate doctor`.

Exit code: 0 when everything that is configured works, 1 when something does not.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from tidegate.doctor import cloudrun, ecs, kubernetes, machine, platform, servers, watchers
from tidegate.doctor.findings import Check, DoctorFacts, Finding, FindingState, examine
from tidegate.errors import InvalidArgument, TidegateError
from tidegate.settings import Settings

CHECKS: tuple[tuple[str, Check], ...] = (
    ("settings", machine.settings),
    ("python", machine.python),
    ("libraries", machine.libraries),
    ("open files", machine.open_files),
    ("data directory", machine.data_directory),
    ("models", machine.models),
    ("database", servers.database),
    ("mlflow", servers.mlflow),
    ("s3", servers.s3),
    ("capture store", servers.capture_store),
    ("rabbitmq", servers.rabbitmq),
    ("redis", servers.redis),
    ("docker", servers.docker),
    ("kubernetes", kubernetes.cluster),
    ("ecs", ecs.ecs),
    ("cloudrun", cloudrun.cloudrun),
    ("prometheus", watchers.prometheus),
    ("grafana", watchers.grafana),
    ("control plane", platform.control_plane),
    ("gateway", platform.gateways),
    ("compactor", platform.compactor),
)
MARKS = {FindingState.OK: "ok", FindingState.NOTE: "note", FindingState.OFF: "-", FindingState.WRONG: "WRONG"}


def main(argv: list[str] | None = None) -> int:
    """Look at everything at the same time, then say it."""
    parser = argparse.ArgumentParser(prog="tidegate doctor", description="Check every configured part.")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    logging.disable()  # what libraries log while they fail is told by the findings
    facts = read_facts(os.environ, data_dir=given.data_dir, url=given.url)
    for name in facts.unreadable:  # told once, by the settings' own line
        del os.environ[name]
    findings = examine(CHECKS, facts)
    well = all(finding.state is not FindingState.WRONG for finding in findings)
    body = {"ok": well, "parts": [asdict(finding) for finding in findings]}
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    said = orjson.dumps(body, option=orjson.OPT_INDENT_2).decode() + "\n" if given.json else text(findings, columns)
    sys.stdout.write(said)
    sys.stdout.flush()
    return 0 if well else 1


def read_facts(env: Mapping[str, str], **overrides: object) -> DoctorFacts:
    """The settings; those that cannot be read are left out one by one, so that the rest is looked at all the same."""
    env = dict(env)
    unreadable: dict[str, TidegateError] = {}
    while True:
        readable = {name: value for name, value in env.items() if name not in unreadable}
        try:
            return DoctorFacts(Settings.from_env(readable, **overrides), readable, unreadable)
        except InvalidArgument as error:
            name = str(error.details.get("field"))
            if name in unreadable or name not in readable:
                raise
            unreadable[name] = error


def text(findings: Sequence[Finding], columns: int | None = None) -> str:
    """A line for each, and a last one that says whether all is well; folded where a terminal has so many `columns`."""
    wide = max(len(finding.part) for finding in findings)
    lines = [_line(f"{MARKS[one.state]:5}  {one.part:{wide}}  ", one.said, columns) for one in findings]
    wrong = [finding.part for finding in findings if finding.state is FindingState.WRONG]
    lines.append(f"to mend: {', '.join(wrong)}" if wrong else "everything that is configured works")
    return "\n".join(lines) + "\n"


def _line(head: str, said: str, columns: int | None) -> str:
    if columns is None:
        return head + said
    room = max(columns - len(head), 1)
    folded = textwrap.wrap(said, room, break_long_words=False, break_on_hyphens=False)
    return head + f"\n{' ' * len(head)}".join(folded)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a check that hangs in its thread does not hold up the end

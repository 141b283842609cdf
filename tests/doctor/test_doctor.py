"""`tidegate doctor` as it is typed, its table of checks, and its bound in time."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import psutil
import pytest

from support.platform import Platform, Ran, tidegate
from support.services.postgres import Postgres
from support.wait import until
from tidegate.doctor.__main__ import CHECKS, read_facts, text
from tidegate.doctor.findings import DoctorFacts, Finding, FindingState, examine
from tidegate.doctor.machine import data_directory, libraries, open_files
from tidegate.errors import DiskFull
from tidegate.settings import Settings


def states(ran: Ran) -> dict[str, str]:
    return {part["part"]: part["state"] for part in ran.json["parts"]}


def test_a_machine_with_nothing_configured_is_well(tmp_path: Path) -> None:
    ran = tidegate("doctor", "--data-dir", str(tmp_path / "data"))
    assert ran.code == 0, ran.said
    assert ran.out.splitlines()[-1] == "everything that is configured works"
    assert f"-      data directory  {tmp_path}/data is not there yet: 'tidegate up' makes it" in ran.out
    assert not (tmp_path / "data").exists(), "looking must change nothing"
    assert len(ran.out.splitlines()) == len(CHECKS) + 1, "a line for each part"


def test_every_part_that_is_wrong_is_told_with_what_to_do(tmp_path: Path, postgres: Postgres) -> None:
    env = {
        "DATABASE_URL": postgres.url("postgres", password="hush-wrong"),
        "NAMESPACE": "No_Namespace",
        "MIN_REPLICAS": "2",
        "REDIS_URL": "http://:hush@127.0.0.1",
        "PROMETHEUS_URL": "http://hush:hush@127.0.0.1:1",
    }
    ran = tidegate("doctor", "--data-dir", str(tmp_path), "--json", env=env)
    assert ran.code == 1
    assert ran.json["ok"] is False
    assert [part["part"] for part in ran.json["parts"]] == [part for part, _ in CHECKS]
    said = {part["part"]: part["said"] for part in ran.json["parts"] if part["state"] == "wrong"}
    assert set(said) == {"settings", "database", "prometheus"}
    assert "NAMESPACE='No_Namespace'" in said["settings"]
    assert "REDIS_URL must be redis://" in said["settings"]
    assert "correct user and password in DATABASE_URL" in said["database"]
    assert "Prometheus at 127.0.0.1:1 refuses connections: start it, or correct PROMETHEUS_URL" in said["prometheus"]
    assert "hush" not in ran.said
    for_people = tidegate("doctor", "--data-dir", str(tmp_path), env=env)
    assert for_people.code == 1
    assert for_people.out.splitlines()[-1] == "to mend: settings, database, prometheus"


def test_a_platform_that_runs_and_one_whose_control_plane_died(own_platform: Platform) -> None:
    own_platform.start()
    ran = own_platform.cli("doctor", "--json")
    assert ran.code == 0, ran.said
    found = states(ran)
    assert {found[part] for part in ("control plane", "gateway", "database", "data directory", "models")} == {"ok"}
    control = psutil.Process(own_platform.control_pid)
    control.send_signal(signal.SIGKILL)
    until(lambda: not control.is_running(), what="the control plane's end")
    ran = tidegate("doctor", "--data-dir", str(own_platform.data_dir), "--json")
    assert ran.code == 1
    found = states(ran)
    assert (found["control plane"], found["gateway"]) == ("wrong", "note")


def test_a_finding_is_folded_beside_its_part_on_a_terminal_and_stays_a_line_elsewhere() -> None:
    finding = Finding(
        "redis", FindingState.WRONG, "Redis at localhost:6379 refuses connections: start it, or correct it"
    )
    assert text([finding], 60).splitlines()[:2] == [
        "WRONG  redis  Redis at localhost:6379 refuses connections:",
        "              start it, or correct it",
    ]
    assert text([finding]).splitlines()[0] == f"WRONG  redis  {finding.said}"


def test_settings_that_are_given_are_told(tmp_path: Path) -> None:
    facts = read_facts({"TARGET_CPU_UTILIZATION": "60", "GRAFANA_URL": "nonsense"}, data_dir=tmp_path)
    assert set(facts.unreadable) == {"GRAFANA_URL"}
    assert facts.settings.target_cpu_utilization == 60
    facts = read_facts({"NAMESPACE": "ml", "TARGET_CPU_UTILIZATION": "60"}, data_dir=tmp_path)
    state, said = dict(CHECKS)["settings"](facts)
    assert state is FindingState.OK
    assert said == "read: NAMESPACE, TARGET_CPU_UTILIZATION"


def test_a_check_that_hangs_or_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    held = threading.Event()
    empty: dict[str, str] = {}

    def hangs(_: DoctorFacts) -> tuple[FindingState, str]:
        held.wait(30)
        return FindingState.OK, ""

    def full(_: DoctorFacts) -> tuple[FindingState, str]:
        raise DiskFull

    def broken(_: DoctorFacts) -> tuple[FindingState, str]:
        return FindingState.OK, str(empty["nothing"])

    checks = (("hangs", hangs), ("full", full), ("broken", broken), ("well", lambda _: (FindingState.OK, "well")))
    found = examine(checks, DoctorFacts(Settings(data_dir=tmp_path), {}), within_s=0.3)
    held.set()
    assert [(one.part, one.state.value, one.code) for one in found] == [
        ("hangs", "wrong", "deadline_exceeded"),
        ("full", "wrong", "disk_full"),
        ("broken", "wrong", "internal"),
        ("well", "ok", None),
    ]
    assert "no answer within 0.3 s" in found[0].said
    assert "KeyError: 'nothing'" in found[2].said


def test_data_directories_that_cannot_be_used_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(path: Path) -> tuple[FindingState, str]:
        return data_directory(DoctorFacts(Settings(data_dir=path), {}))

    tmp_path.chmod(0o700)
    assert told(tmp_path)[0] is FindingState.OK
    (tmp_path / "file").touch()
    assert told(tmp_path / "file") == (
        FindingState.WRONG,
        f"{tmp_path}/file is a file, not a directory: choose another with --data-dir",
    )
    tmp_path.chmod(0o755)
    state, said = told(tmp_path)
    assert state is FindingState.NOTE
    assert "chmod 700" in said
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tidegate.doctor.machine.FREE_BYTES_MIN", 1 << 60)
    state, said = told(tmp_path)
    assert state is FindingState.WRONG
    assert "free some space there" in said


def test_limits_and_libraries_of_this_process(tmp_path: Path) -> None:
    facts = DoctorFacts(Settings(data_dir=tmp_path, connections_max=1_000_000), {})
    state, said = open_files(facts)
    assert state is FindingState.NOTE, said
    assert "not for TIDEGATE_CONNECTIONS_MAX=1000000" in said
    state, said = libraries(facts)
    assert state is FindingState.OK, said
    whole = said.split("extras installed: ")[1].split(";")[0].split(", ")
    assert {"platform", "postgres"} <= set(whole)

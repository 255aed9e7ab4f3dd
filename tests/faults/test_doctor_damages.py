"""`sultana doctor` on one seeded damage each: it finds that and nothing else, and mends it where that is safe."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from orchestration import doctor
from orchestration.cli import app
from orchestration.diagnosis.finding import Examined
from orchestration.instance import open_instance
from orchestration.repairing import repair
from resources.commits import CommitLog
from resources.repaired import check_repaired, repairs
from resources.tables import LanceTables
from tests.faults.damaged_stores import dead_publication
from tests.faults.damages import (
    Damage,
    chosen,
    edited_log,
    missing_tag,
    orphan_files,
    phantom,
)
from tests.faults.scene import acknowledged, copied, nothing_job, put, tree

PORT = 4388
OF_THE_DATA = {
    "database logs",
    "locks",
    "data folder",
    "Dagster instance",
    "runs and pools",
    "Lance tables",
    "MLflow registry",
    "half-written files",
}


@pytest.fixture
def data(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the whole data folder. What the machine is like is not asked here."""
    folder = copied(whole, tmp_path / "data")
    monkeypatch.setenv("SULTANA_DATA", str(folder))
    monkeypatch.setattr(doctor, "CHECKS", tuple(one for one in doctor.CHECKS if one[0] in OF_THE_DATA))
    return folder


def codes(found: dict[str, Any]) -> list[str]:
    return [one["code"] for check in found["checks"] for one in check["findings"]]


def test_the_whole_folder_has_nothing_to_repair(data: Path) -> None:
    before = acknowledged(data), tree(data)
    assert codes(doctor.examine(PORT)) == []
    found = repair(PORT)
    assert (found["repairs"], codes(found)) == ([], []) and (acknowledged(data), tree(data)) == before


@pytest.mark.parametrize("damage", chosen(repaired=True))
def test_a_damage_is_found_and_mended(data: Path, damage: Damage) -> None:
    registry = "registry" not in damage.title  # there was none yet
    before = acknowledged(data, registry)
    damage.seed(data)
    told = doctor.look(Examined(data, PORT))
    findings = [finding for check in told for finding in check.findings]
    assert [one.code for one in findings] == [damage.code]
    assert findings[0].problem and findings[0].remedy and findings[0].repair is not None
    if damage.code == "log-left-behind":  # whoever looks into the database brings it in
        assert repair(PORT)["repairs"] == []
        damage.seed(data)
    found = repair(PORT)
    assert [one["code"] for one in found["repairs"]][:1] == [damage.code]
    assert all(one["done"] for one in found["repairs"]), found["repairs"]
    assert codes(found) == []
    assert acknowledged(data, registry) == before
    log = CommitLog(data / "lance" / "commits.sqlite")
    assert [one["code"] for one in repairs(log)] == [one["code"] for one in found["repairs"]]
    assert check_repaired(log) is None
    written = put(LanceTables(data / "lance"), "next")
    assert written.rows == 800


@pytest.mark.parametrize("damage", chosen(repaired=False))
def test_what_is_not_safe_is_named_with_a_remedy_and_left_alone(data: Path, damage: Damage) -> None:
    damage.seed(data)
    before = tree(data)
    found = repair(PORT)
    assert found["repairs"] == [] and set(codes(found)) == {damage.code} and tree(data) == before
    findings = [one for check in found["checks"] for one in check["findings"]]
    assert all(one["problem"] and one["remedy"] and one["repair"] is None for one in findings), findings


def test_nothing_is_repaired_while_the_commit_log_is_damaged(data: Path) -> None:
    phantom(data)
    edited_log(data)
    dead_publication(data)
    before = tree(data)
    found = repair(PORT)
    assert not any(one["done"] for one in found["repairs"]) and found["repairs"]
    assert all("commit-log-damaged" in one["why"] for one in found["repairs"]) and tree(data) == before


def test_what_a_run_in_progress_could_need_is_left_until_it_has_ended(data: Path) -> None:
    orphan_files(data)
    missing_tag(data)
    with open_instance(data) as instance:
        run = instance.create_run_for_job(nothing_job, status=dg.DagsterRunStatus.STARTED)
    done = {one["code"]: one for one in repair(PORT)["repairs"]}
    assert done["tag-missing"]["done"] and not done["orphan-files"]["done"]
    assert run.run_id in done["orphan-files"]["why"]
    assert repair(PORT, run.run_id)["repairs"][0]["done"]  # the run that asks


def test_what_another_writes_at_this_moment_is_no_orphan(data: Path) -> None:
    tables = LanceTables(data / "lance")
    orphan_files(data)
    with tables.locked("numbers"):
        assert codes(doctor.examine(PORT)) == []
    assert codes(doctor.examine(PORT)) == ["orphan-files"]


def test_the_command_tells_it_line_by_line_and_ends_with_1_where_a_problem_is_left(data: Path) -> None:
    run = CliRunner().invoke
    missing_tag(data)
    told = run(app, ["doctor", "--port", str(PORT)])
    assert told.exit_code == 1 and "`sultana doctor --repair` would tag version 1" in told.stdout
    mended = run(app, ["doctor", "--repair", "--port", str(PORT)])
    assert mended.exit_code == 0 and "Repaired: Table numbers: the tag" in mended.stdout
    assert "Problems: 0" in mended.stdout
    edited_log(data)
    found = run(app, ["doctor", "--repair", "--port", str(PORT), "--json"])
    assert found.exit_code == 1 and json.loads(found.stdout)["repairs"] == []

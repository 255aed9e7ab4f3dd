"""`sultana maintain` over a real deployment: a copy of one with a registered model, to which versions were added."""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from test_audit_commands import printed
from typer.testing import CliRunner

from assets.materialized import every_materialization, materializations
from assets.records import CURRICULUM, INSTRUCTIONS
from orchestration.auditing import audit
from orchestration.cli import app
from orchestration.compaction import FRAGMENTED_FILES
from orchestration.instance import open_instance
from orchestration.maintenance import RETENTION, maintain, retention_days, show_maintenance
from orchestration.tracing import trace
from resources.definitions import Storage
from resources.errors import SultanaError
from resources.table_cleanup import data_files
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables


@pytest.fixture
def data(registered_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    shutil.copytree(registered_data, folder, symlinks=True)
    monkeypatch.setenv("SULTANA_DATA", str(folder))
    monkeypatch.delenv(RETENTION, raising=False)
    return folder


def overwritten(tables: LanceTables, key: str, rows: int) -> TableRef:
    head = tables.head(INSTRUCTIONS.table)
    assert head is not None
    return tables.write(
        INSTRUCTIONS,
        tables.read(head).slice(0, rows),
        mode="overwrite",
        provenance=Provenance("run", "instructions", key),
    )


def referred(data: Path) -> list[TableRef]:
    """Every version that a materialization names."""
    with open_instance(data) as instance:
        return [
            TableRef.from_json(ref)
            for key in instance.all_asset_keys()
            for made in every_materialization(instance, key.to_user_string())
            for ref in made.record["tables"].values()
        ]


def size(data: Path) -> int:
    return sum(path.stat().st_size for path in (data / "lance").rglob("*") if path.is_file())


def files(data: Path) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns for path in (data / "lance").rglob("*.lance") if path.is_file()
    }


def test_what_a_registered_model_depends_on_stays_and_the_rest_goes(data: Path) -> None:
    tables = Storage().tables()
    told = audit("sultana/1", verified=True)
    unreferenced = overwritten(tables, "one", 200)
    newest = overwritten(tables, "two", 100)
    before, files_before = size(data), files(data)

    kept = maintain()  # everything is younger than thirty days
    assert kept["removed_versions"] == 0 and tables.read(unreferenced).num_rows == 200
    would = maintain(older_than=0, dry_run=True)
    assert files(data) == files_before and size(data) - before < 100_000
    assert {one["version"] for one in removed(would, "instructions")} == {unreferenced.version}
    done = maintain(older_than=0)
    assert removed(done, "instructions") == removed(would, "instructions")
    assert done["freed_bytes"] == would["freed_bytes"] > 0 and size(data) < before
    assert tables.is_reclaimed(unreferenced) and tables.read(newest).num_rows == 100
    reasons = {one["version"]: one["why"] for one in of_table(done, "instructions")["kept"]}
    assert reasons[told_version(told, "instructions")] == "sultana version 1"

    for ref in referred(data):
        assert not tables.is_reclaimed(ref) and tables.read(ref).num_rows >= ref.rows
    after = audit("sultana/1", verified=True)
    assert after["totals"] == told["totals"]
    assert after["verification"]["problems"] == told["verification"]["problems"]
    assert tables.check() == [] and maintain(older_than=0)["removed_versions"] == 0
    shown = printed(show_maintenance, done)
    assert "days removed: " in shown and "instructions" in shown
    assert "would be removed" in printed(show_maintenance, would)


def removed(found: dict[str, Any], table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = of_table(found, table)["removed"]
    return rows


def of_table(found: dict[str, Any], table: str) -> dict[str, Any]:
    one: dict[str, Any] = next(row for row in found["tables"] if row["table"] == table)
    return one


def told_version(told: dict[str, Any], asset: str) -> int:
    return int(next(one for one in told["chain"] if one["asset"] == asset)["tables"][0]["version"])


def test_a_trace_goes_on_without_what_was_reclaimed(data: Path) -> None:
    tables = Storage().tables()
    ledger = tables.read(tables.head(CURRICULUM.table)).to_pylist()  # type: ignore[arg-type]
    row = next(one["row_id"] for one in ledger if one["kind"] == "original")
    before = trace(row)
    overwritten(tables, "one", 200)
    overwritten(tables, "two", 100)
    maintain(older_than=0)
    after = trace(row)
    assert (after["chosen"], after["models"]) == (before["chosen"], before["models"])
    assert after["origins"][0]["state"] == before["origins"][0]["state"] == "kept"


def test_nothing_is_removed_while_a_run_is_in_progress(data: Path) -> None:
    tables = Storage().tables()
    overwritten(tables, "one", 200)
    overwritten(tables, "two", 100)
    with open_instance(data) as instance:
        job = dg.GraphDefinition(name="reads").to_job()
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        with pytest.raises(SultanaError, match=f"among them {run.run_id}"):
            maintain(older_than=0)
        assert removed(maintain(older_than=0, dry_run=True), "instructions")
        assert maintain(older_than=0, run_id=run.run_id)["removed_versions"] > 0


def test_where_a_dependency_cannot_be_followed_nothing_is_removed(data: Path) -> None:
    tables = Storage().tables()
    overwritten(tables, "one", 200)
    overwritten(tables, "two", 100)
    with open_instance(data) as instance:
        instance.wipe_assets([dg.AssetKey("instructions")])
    with pytest.raises(SultanaError, match="Dagster no longer knows materialization .* of 'instructions'"):
        maintain(older_than=0)
    with open_instance(data) as instance:
        instance.wipe_assets(instance.all_asset_keys())
    with pytest.raises(SultanaError, match="does not know the checkpoint that sultana version 1"):
        maintain(older_than=0)
    assert len(tables.versions("instructions")) >= 3 and not any(
        tables.is_reclaimed(ref) for ref in tables.versions("instructions")
    )


def test_a_table_of_many_small_files_is_written_anew_with_the_same_content(data: Path) -> None:
    tables = Storage().tables()
    with open_instance(data) as instance:
        made = materializations(instance, "curriculum")[0].table()
    rows = tables.read(made)
    for number in range(FRAGMENTED_FILES):
        names = [f"{'c' * 31}{number:x}:0:{place}" for place in range(rows.num_rows)]
        more = rows.set_column(0, CURRICULUM.schema.field("entry_id"), [names])
        base = tables.write(
            CURRICULUM, more, mode="append", provenance=Provenance("run", "curriculum", f"n{number}")
        )
    assert maintain(compact=True, dry_run=True)["compacted"] == [
        {"table": "curriculum", "from_version": base.version, "files": len(data_files(tables, "curriculum"))}
        | {"to_version": None}
    ]
    assert tables.head("curriculum") == base
    (done,) = maintain(compact=True)["compacted"]
    head = tables.head("curriculum")
    assert head is not None and head.version == done["to_version"]
    assert (head.digest, head.rows) == (base.digest, base.rows) and len(data_files(tables, "curriculum")) == 1
    assert tables.read(head).equals(tables.read(base)) and tables.check() == []
    assert maintain(compact=True)["compacted"] == [] and trace(rows["row_id"][0].as_py())["models"]


def test_what_lies_about_is_told_and_left_alone(data: Path) -> None:
    import os

    places = [data / "checkpoints" / "abc" / "state.bin", data / "policies" / "def" / "policy.json"]
    for path in places:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 1000)
        for one in (path, path.parent):
            os.utime(one, (1, 1))
    found = {one["path"]: one for one in maintain(older_than=0)["left_over"]}
    for path in places:
        assert found[str(path.parent)]["bytes"] == 1000 and path.is_file()


def test_the_command_answers_people_and_programs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    found = json.loads(run(app, ["maintain", "--dry-run", "--json"]).stdout)
    assert found["dry_run"] and found["older_than_days"] == 30
    monkeypatch.setenv(RETENTION, "7")
    assert json.loads(run(app, ["maintain", "--dry-run", "--json"]).stdout)["older_than_days"] == 7
    done = run(app, ["maintain", "--older-than", "90"])
    assert done.exit_code == 0 and "Versions older than 90 days removed: 0" in done.stdout
    assert run(app, ["maintain", "--older-than", "-1"]).exit_code == 1
    monkeypatch.setenv(RETENTION, "soon")
    with pytest.raises(SultanaError, match="The retention age is 'soon'"):
        retention_days(None)

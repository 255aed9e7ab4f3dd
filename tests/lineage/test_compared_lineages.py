"""Two checkpoints' lineages as Dagster recorded them: a real run, and variants of it told to a copy of its instance."""

import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from assets.identity import digest
from assets.ledger import curriculum_table, read_curriculum
from assets.lineage.difference.differing import DIFFERING_ROW
from assets.materialized import LINEAGE, Materialized, follow, materializations, require
from assets.records import CURRICULUM, INSTRUCTIONS
from orchestration.comparison_shown import show_comparison
from orchestration.instance import open_instance
from orchestration.lineage_compared import LineageComparison, compare_lineages
from resources.definitions import Storage
from resources.table_refs import Provenance, Record, TableRef
from resources.tables import LanceTables
from resources.text import id_filter


@dataclass
class Copy:
    """A copy of the run's instance and tables, to which further materializations are told."""

    instance: dg.DagsterInstance
    tables: LanceTables

    def made_again(self, made: Materialized, **changes: Any) -> Materialized:
        """A materialization with the record of `made` but for `changes`; its data are others."""
        record = {**made.record, "made_by_run": "another run", **changes}
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                made.asset,
                partition=made.partition,
                metadata={LINEAGE: dg.MetadataValue.json(record)},
                tags={"dagster/data_version": digest(record)[:32]},
            )
        )
        return materializations(self.instance, made.asset, made.partition)[0]

    def upstream(self, made: Materialized, *others: Materialized) -> dict[str, Any]:
        return {**made.record["upstream"], **{one.asset: one.pointer() for one in others}}

    def write(self, record: Record, rows: pa.Table, mode: Any) -> TableRef:
        name = digest([record.table, rows.num_rows, rows.to_pylist()])
        provenance = Provenance("another run", record.table, name[:32])
        return self.tables.write(record, rows, mode=mode, provenance=provenance)

    def compare(self, ours: Materialized, theirs: Materialized) -> LineageComparison:
        return compare_lineages(self.instance, self.tables, ours, theirs)


@pytest.fixture
def copy(registered_data: Path, tmp_path: Path) -> Iterator[Copy]:
    folder = tmp_path / "data"
    for name in ("dagster", "lance"):
        shutil.copytree(registered_data / name, folder / name)
    with open_instance(folder) as instance:
        yield Copy(instance, Storage(folder=str(folder)).tables())


def shown(found: LineageComparison) -> str:
    console = Console(file=io.StringIO(), width=180)
    named: Mapping[str, Any] = {"model": "sultana", "version": 1}
    told = {"a": named, "b": {**named, "version": 2}, "lineage": found.told, "settings": []}
    show_comparison(told | {"not_scored": "it was not evaluated"}, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_one_curriculum_and_another_seed_of_training(copy: Copy) -> None:
    ours = require(copy.instance, "checkpoint", "0|random")
    theirs = copy.made_again(
        ours,
        settings={**ours.record["settings"], "seed": 99},
        facts={**ours.record["facts"], "language_model": "f" * 64, "language_model_name": "another\x1b[2J"},
    )
    found = copy.compare(ours, theirs)
    states = {one["asset"]: one["state"] for one in found.told["chain"]}
    assert states.pop("checkpoint") == "different" and set(states.values()) == {"same"}
    (why,) = found.told["chain"][0]["why"]
    assert (why["what"], why["name"], why["b"]) == ("setting", "seed", 99)
    assert found.told["curriculum"]["same"] and all(one["same"] for one in found.told["tables"])
    assert list(found.rows()) == [] and orjson.dumps(found.told)
    text = shown(found)
    assert "Different: checkpoint." in text and "no row differs" in text
    assert "Their base models differ" in text and "\x1b" not in text
    assert "It begins with checkpoint: setting seed" in text


def test_other_sources_lead_to_other_rows(copy: Copy) -> None:
    ours = require(copy.instance, "checkpoint", "0|random")
    curriculum = follow(copy.instance, ours, "curriculum")
    clusters = follow(copy.instance, curriculum, "diversity_clusters")
    instructions = follow(copy.instance, clusters, "instructions")
    raw = follow(copy.instance, instructions, "raw_instructions")
    rows = copy.tables.read(instructions.table("instructions")).to_pylist()
    used = set(
        copy.tables.read(
            curriculum.table(),
            filter=id_filter("curriculum_id", [curriculum.record["facts"]["curriculum_id"]]),
        )["row_id"].to_pylist()
    )
    lost = next(row for row in rows if row["instruction_id"] not in used)
    new = {**lost, "instruction_id": "0" * 32, "task": "a new\ntask"}
    relabelled = next(row for row in rows if row["instruction_id"] in used)
    relabelled["task"] = "relabelled"
    kept = [row for row in rows if row is not lost] + [new]
    table = copy.write(INSTRUCTIONS, pa.Table.from_pylist(kept, schema=INSTRUCTIONS.schema), "overwrite")
    settings = {**raw.record["configuration"], "maximum_rows": 12345}
    raw_again = copy.made_again(raw, configuration=settings)
    instructions_again = copy.made_again(
        instructions,
        upstream=copy.upstream(instructions, raw_again),
        tables={"instructions": table.to_json()},
    )
    clusters_again = copy.made_again(clusters, upstream=copy.upstream(clusters, instructions_again))
    identity = curriculum.record["facts"]["curriculum_id"]
    ledger = copy.tables.read(curriculum.table(), filter=id_filter("curriculum_id", [identity]))
    chosen = read_curriculum(ledger, identity)
    ledger = curriculum_table("9" * 32, "random", 0, chosen.steps).to_pylist()
    original = next(row for row in ledger if row["kind"] == "original" and row["step"] == 1)
    original["row_id"] = new["instruction_id"]
    head = copy.write(CURRICULUM, pa.Table.from_pylist(ledger, schema=CURRICULUM.schema), "append")
    curriculum_again = copy.made_again(
        curriculum,
        upstream=copy.upstream(curriculum, clusters_again),
        tables={"curriculum": head.to_json()},
        facts={**curriculum.record["facts"], "curriculum_id": "9" * 32},
    )
    theirs = copy.made_again(
        ours,
        upstream=copy.upstream(ours, curriculum_again),
        facts={**ours.record["facts"], "curriculum_id": "9" * 32},
    )

    found = copy.compare(ours, theirs)
    tables = {one["table"]: one for one in found.told["tables"]}
    assert tables["diversity_clusters"]["same"] and tables["raw_instructions"]["same"]
    counts = {what: tables["instructions"][what]["rows"] for what in ("added", "removed", "changed")}
    assert counts == {"added": 1, "removed": 1, "changed": 1}
    assert tables["instructions"]["removed"]["examples"] == [lost["instruction_id"]]
    assert tables["instructions"]["added"]["tasks"] == [{"task": "a new\ntask", "rows": 1}]
    curricula = found.told["curriculum"]
    assert (curricula["a"]["rows_only_here"], curricula["b"]["rows_only_here"]) == (1, 1)
    assert curricula["first_difference"]["step"] == 1
    assert curricula["first_difference"]["b"] == "0" * 32
    changes = {one["task"]: one["change"] for one in curricula["tasks"]}
    assert changes["a new\ntask"] == pytest.approx(-1 / len(ledger))
    assert sum(changes.values()) == pytest.approx(0)

    rows_told = [row for batch in found.rows() for row in batch.to_pylist()]
    assert {(row["table"], row["side"], row["row_id"]) for row in rows_told} >= {
        ("instructions", "a", lost["instruction_id"]),
        ("instructions", "b", "0" * 32),
        ("curriculum", "b", "0" * 32),
    }
    assert all(row["origins"] for row in rows_told if row["table"] in ("instructions", "curriculum"))
    text = shown(found)
    assert "It begins with raw_instructions: configuration maximum_rows" in text
    assert "instructions: 1 added, 1 removed, 1 changed from A to B" in text
    assert "they part at step 1" in text and "a new\\ntask" in text
    assert "Scores are not compared: it was not evaluated" in text


@pytest.mark.slow
def test_two_strategies_are_compared_from_rows_to_scores(
    registered_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from orchestration.cli import app
    from orchestration.run import Request, run_request

    folder = tmp_path / "data"
    shutil.copytree(registered_data, folder, symlinks=True)
    monkeypatch.setenv("SULTANA_DATA", str(folder))
    with open(tmp_path / "console.txt", "w") as output:
        request = Request(preset="smoke", strategies=("longest",), seeds=(0,), to="evaluation")
        run_request(request, Console(file=output))
    rows = tmp_path / "rows.parquet"
    done = CliRunner().invoke(
        app, ["compare", "sultana/1", "sultana@longest-seed-0", "--json", "--rows", str(rows)]
    )
    assert done.exit_code == 0, done.output + repr(done.exception)
    found = orjson.loads(done.stdout)
    states = {one["asset"]: one["state"] for one in found["lineage"]["chain"]}
    assert {name for name, state in states.items() if state == "different"} == {"checkpoint", "curriculum"}
    assert [one for one in found["lineage"]["tables"] if not one["same"]] == []
    curricula = found["lineage"]["curriculum"]
    assert curricula["a"]["slots"] == curricula["b"]["slots"] == 8
    assert found["rows_file"]["rows"] == sum(curricula[side]["rows_only_here"] for side in "ab") > 0
    assert pq.read_table(rows).schema.equals(DIFFERING_ROW)
    tasks = {row["task"] for row in found["tasks"]}
    assert {row["task"] for row in found["associations"]["scores"]} <= tasks
    assert found["associations"]["scores"] and found["not_scored"] is None
    told = CliRunner().invoke(app, ["compare", "sultana/1", "sultana/2"])
    assert "Different: checkpoint, curriculum." in told.stdout
    assert "Share of slots by task" in told.stdout and "that one caused the other" in told.stdout
    (folder / "told.txt").write_text(told.stdout)

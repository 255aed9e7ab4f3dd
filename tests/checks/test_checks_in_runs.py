"""Checks in real runs: what blocks stops all that follows, what does not is shown, partitions find their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from recorded import Recorded, clustered
from rich.console import Console

from assets.ledger import Entry, Selection, curriculum_id, curriculum_table
from assets.materialized import Materialized, materializations
from assets.partitions import EXPERIMENTS, offer_partitions, partition_key
from assets.records import CURRICULUM, DIVERSITY_CLUSTERS
from assets.selection.checks import curriculum_checks
from orchestration.instance import open_instance
from orchestration.run import Request, plan, run_request
from resources.errors import SultanaError

PROJECT = Path(__file__).resolve().parents[2]
GOOD = [
    {"instruction": f"Name a {thing}.", "output": f"A {thing}, of course."}
    for thing in ["cup", "hat", "pin", "jar"]
]
BAD = [{"question_text": number} for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path / "data"))
    return tmp_path


def source(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def request(folder: Path, rows: list[dict[str, Any]], **checks: dict[str, float]) -> Request:
    """Up to `instructions`, which needs no model."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"ops": {name: {"config": bounds} for name, bounds in checks.items()}}))
    return Request(preset="smoke", config=config, sources=(source(folder, rows),), to="instructions")


def run(folder: Path, asked: Request) -> str:
    with open(folder / "console.txt", "w") as output:
        console = Console(record=True, width=200, file=output)
        run_request(asked, console)
    return console.export_text()


def made(asset: str) -> list[Materialized]:
    with open_instance(Path(os.environ["SULTANA_DATA"])) as instance:
        return materializations(instance, asset)


def test_a_check_that_blocks_stops_the_run_and_says_why(folder: Path) -> None:
    file = source(folder, GOOD + BAD)
    command = [
        "-m",
        "orchestration.cli",
        "run",
        "--preset",
        "smoke",
        "--source",
        file,
        "--to",
        "instructions",
    ]
    found = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=PROJECT, timeout=240
    )
    assert found.returncode == 1, found.stdout + found.stderr
    (said,) = found.stderr.splitlines()
    assert said.startswith("sultana: The check enough_rows_are_readable of raw_instructions failed")
    assert "40.0% of the raw rows could be read (4 of 10" in said and "minimum_readable_share" in said
    # What it looked at is there; nothing after it is.
    assert made("raw_instructions") and not made("instructions")
    with open_instance(folder / "data") as instance:
        (last,) = instance.get_runs(limit=1)
        assert last.status is dg.DagsterRunStatus.FAILURE
        logs = instance.all_logs(last.run_id, of_type=dg.DagsterEventType.STEP_START)
        started = {one.step_key for one in logs}
    assert "raw_instructions_checks" in started and "instructions" not in started


def test_with_a_lower_bound_the_same_rows_go_through(folder: Path) -> None:
    rows = GOOD + BAD
    said = run(folder, request(folder, rows, raw_instructions_checks={"minimum_readable_share": 0.25}))
    assert made("instructions")
    # Six of ten rows in quarantine is a warning, shown and without consequence.
    assert "! quarantine, check quarantined_share: 60.0% of the raw rows were quarantined" in said
    assert "! raw_instructions" not in said
    with open_instance(folder / "data") as instance:
        assert instance.get_runs(limit=1)[0].status is dg.DagsterRunStatus.SUCCESS


def test_a_wrong_bound_is_refused_before_anything_runs(folder: Path) -> None:
    with pytest.raises(SultanaError, match="minimum_readable_share"):
        plan(request(folder, GOOD, raw_instructions_checks={"minimum_readable_share": 1.5}))
    with pytest.raises(SultanaError, match="has no setting 'minimum'"):
        plan(request(folder, GOOD, raw_instructions_checks={"minimum": 0.5}))


@pytest.fixture
def two_curricula(recorded: Recorded) -> Iterator[tuple[dg.JobDefinition, Recorded]]:
    """A job of curricula, one of them with a row too many times, with their real checks."""
    clusters = recorded.add(
        "diversity_clusters", {DIVERSITY_CLUSTERS: [clustered("a", 0, 0), clustered("b", 1, 0)]}
    )

    @dg.asset(partitions_def=EXPERIMENTS)
    def curriculum(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        strategy = context.multi_partition_key.keys_by_dimension["strategy"]
        rows = ("a", "b") if strategy == "random" else ("a", "a")
        identity = curriculum_id({"strategy": strategy})
        steps = [
            Selection(step, (Entry(row, "original", 0, 0.0, 1.0, "why", "a" * 64),))
            for step, row in enumerate(rows)
        ]
        facts = {
            "curriculum_id": identity,
            "strategy": strategy,
            "method": strategy,
            "steps": 2,
            "batch_size": 1,
            "repeat_cap": 1,
            "candidates": 2,
        }
        tables = {CURRICULUM: curriculum_table(identity, strategy, 0, steps)}
        partition = str(context.partition_key)
        return dg.MaterializeResult(
            metadata=recorded.metadata("curriculum", tables, [clusters], None, None, facts, None, partition),
            data_version=dg.DataVersion(identity),
        )

    @dg.asset(partitions_def=EXPERIMENTS, deps=[curriculum])
    def checkpoint() -> None:
        """What must not be made of a ledger that is not sound."""

    job = dg.define_asset_job("curricula", selection=["curriculum", "checkpoint"])
    found = dg.Definitions(
        assets=[curriculum, checkpoint],
        asset_checks=[curriculum_checks],
        jobs=[job],
        resources={"storage": recorded.storage, "io_manager": dg.mem_io_manager},
    )
    yield found.resolve_job_def("curricula"), recorded


def test_a_check_looks_at_its_own_partition(two_curricula: tuple[dg.JobDefinition, Recorded]) -> None:
    job, recorded = two_curricula
    offer_partitions(recorded.instance)
    for strategy, passes in (("longest", False), ("random", True), ("longest", False)):
        result = job.execute_in_process(
            instance=recorded.instance, partition_key=partition_key(strategy, 0), raise_on_error=False
        )
        found = {one.check_name: one for one in result.get_asset_check_evaluations()}
        assert len(found) == 5 and found["ledger_is_complete"].passed is passes
        target = found["ledger_is_complete"].target_materialization_data
        assert target is not None and target.run_id == result.run_id
        made = recorded.instance.get_materialized_partitions(dg.AssetKey("checkpoint"))
        assert result.success is passes and str(partition_key("longest", 0)) not in made

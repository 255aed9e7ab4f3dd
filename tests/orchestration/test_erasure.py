"""Erasure: a sentence that was read, embedded, previewed and traced is found nowhere below the data folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from typer.testing import CliRunner

from assets.materialized import every_materialization, materializations, require
from assets.records import ERASURES, auxiliary_record
from assets.selection.auxiliary import AuxiliaryFeatures, FeatureStore
from orchestration.auditing import audit
from orchestration.cli import app
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.tracing import trace
from resources.definitions import Storage
from resources.table_refs import TableRef
from resources.tables import LanceTables
from tests.orchestration.deployment import Deployment

SECRET = "Quimperlé's zebra hides 4711 blue marzipan ovens."
BROKEN = "Nobody shall know of the violet accordion in Ghent."
SHORT = "Ünikum"
STATES = 8


def sultana(*arguments: str) -> Any:
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == 0, found.output + repr(found.exception)
    return json.loads(found.stdout)


def holding(folder: Path, *texts: str) -> set[str]:
    """Files that hold one of the texts, as bytes or escaped, and tables that hold one in any version."""
    wanted = [form for text in texts for form in (text.encode(), json.dumps(text)[1:-1].encode())]
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and any(one in path.read_bytes() for one in wanted)
    }
    tables = LanceTables(folder / "lance")
    for name in tables.commits.tables():
        for ref in tables.versions(name):
            rows = repr(tables.read(ref).to_pylist())
            found |= {f"{name} version {ref.version}" for text in texts if text in rows}
    return found


def newest(made: Deployment, asset: str) -> TableRef:
    with open_instance(made.folder) as instance:
        return materializations(instance, asset)[0].table()


def add_states(ids: list[str]) -> None:
    """What a model would have said of rows."""
    numbers = np.ones(len(ids))
    hidden = np.ones((len(ids), STATES), np.float32)
    features = AuxiliaryFeatures(numbers.astype(np.int32), numbers.astype(np.int32), numbers, numbers, hidden)
    FeatureStore(Storage().tables(), "run").add("a" * 32, ids, features)


@pytest.fixture(scope="module")
def erased(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A copy of a deployment that read three more rows and lost them, and one that its model was trained on."""
    folder = tmp_path_factory.mktemp("erasure")
    made = deployment.copied(folder / "data")
    made.source = folder / "source.jsonl"
    lines = [
        {"instruction": SECRET, "input": "", "output": "Said."},
        {"question_text": BROKEN},
        {"instruction": "Say it.", "input": "", "output": SHORT},
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    made.source.write_bytes(text.encode() + deployment.source.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SULTANA_DATA", str(made.folder))
        made.run(to="instruction_embeddings")
        with open_instance(made.folder) as instance:
            defs.resolve_job_def("trace_row").execute_in_process(
                instance=instance,
                run_config={"ops": {"trace_one_row": {"config": {"row": f"{made.source.name}:1"}}}},
            )
            version = require(instance, "checkpoint", "0|random").record["facts"]["version"]
        secret = trace(f"{made.source.name}:1")["origins"][0]["instruction_id"]
        before = audit(f"sultana/{version}")
        trained = before["totals"]["most_used"][0]["row_id"]
        if before["totals"]["most_used"][0]["kind"] == "interpolated":
            trained = next(
                one["row_id"] for one in before["totals"]["most_used"] if one["kind"] == "original"
            )
        add_states([secret, trained])
        held_before = holding(made.folder, SECRET, BROKEN, SHORT)
        told = [
            sultana("retract", "--file", f"{made.source.name}:{line}", "--reason", "private", "--erase")
            for line in (1, 2, 3)
        ]
        told.append(sultana("retract", trained, "--reason", "asked for", "--erase"))
        yield {
            **{"made": made, "told": told, "secret": secret, "trained": trained, "version": version},
            **{"audit": before, "held_before": held_before},
        }


def test_what_is_erased_is_found_nowhere(erased: dict[str, Any]) -> None:
    made = erased["made"]
    # It was there: in tables, in Dagster's event log of the run, and in its index.
    assert any(name.startswith("dagster/history/runs/") for name in erased["held_before"])
    assert any(name.startswith("instructions version") for name in erased["held_before"])
    assert any(name.startswith("quarantine version") for name in erased["held_before"])
    assert holding(made.folder, SECRET, BROKEN, SHORT) == set()
    assert all(one["erased"]["left"] == [] for one in erased["told"])
    assert "source files are yours" in erased["told"][0]["still_there"]
    assert SECRET.encode() in made.source.read_bytes()

    tables = Storage().tables()
    assert tables.check() == []
    embedded = tables.read(newest(made, "instruction_embeddings"))
    states = tables.read(tables.head(auxiliary_record(STATES).table))  # type: ignore[arg-type]
    for rows, column in ((embedded, "vector"), (states, "hidden")):
        empty = {row["instruction_id"] for row in rows.to_pylist() if not np.any(np.asarray(row[column]))}
        assert {erased["secret"], erased["trained"]} <= empty and len(empty) <= 3
    # The previews and the trace are still there, without the texts.
    with open_instance(made.folder) as instance:
        preview = next(every_materialization(instance, "raw_instructions")).metadata["preview"]
        cells = [record.data["messages"] for record in preview.value.records]  # type: ignore[union-attr]
    assert cells[0] == "(erased)" and sum(cell == "(erased)" for cell in cells) == 2 and len(cells) == 8


def test_ids_decisions_and_origins_stay(erased: dict[str, Any]) -> None:
    before = erased["audit"]
    now = audit(f"sultana/{erased['version']}")
    assert {name: now[name] for name in ("totals", "manifest", "chain")} == {
        name: before[name] for name in ("totals", "manifest", "chain")
    }
    assert now["retractions"]["erased"] == 1
    assert [one["among_them"] for one in now["retractions"]["held"]] == [[erased["trained"]]]
    told = trace(erased["trained"])
    assert told["origins"][0]["file"] and told["origins"][0]["position"] and told["origins"][0]["text"] == " "
    assert told["models"] and told["retractions"][0]["erase"]

    tables = Storage().tables()
    recorded = tables.read(tables.head(ERASURES.table)).to_pylist()  # type: ignore[arg-type]
    by_table = {
        (row["table_name"], tuple(row["columns"])) for row in recorded if row["row_id"] == erased["trained"]
    }
    assert ("instructions", ("messages",)) in by_table
    starts = (
        *("raw_instructions", "instructions", "quarantine"),
        *("instruction_embeddings_", "auxiliary_features_"),
    )
    named = {row["table_name"] for row in recorded}
    assert len(named) == len(starts) and all(any(one.startswith(start) for one in named) for start in starts)
    assert {row["retraction_id"] for row in recorded} == {one["retraction_id"] for one in erased["told"]}
    # The same command once more finds nothing left to do.
    again = sultana("retract", erased["trained"], "--reason", "asked for", "--erase")
    assert again["stood_already"] and again["erased"]["newly_recorded"] == 0


@pytest.mark.slow
def test_reading_the_source_again_brings_nothing_back(erased: dict[str, Any]) -> None:
    made = erased["made"]
    made.run(to="instruction_embeddings")
    assert holding(made.folder, SECRET, BROKEN, SHORT) == set()
    tables = Storage().tables()
    kept = tables.read(newest(made, "instructions"), columns=["instruction_id"])["instruction_id"]
    assert not {erased["secret"], erased["trained"]} & set(kept.to_pylist())
    with open_instance(made.folder) as instance:
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [key for key in defs.resolve_asset_graph().asset_check_keys]
        )
        found = {
            key.name: one.event.asset_check_evaluation.passed for key, one in checks.items() if one.event
        }
    assert found["rows_in_equal_rows_out"] and found["vectors_have_unit_length"]

    # Lifted, it comes back from the source, and so does its vector.
    (first, *_) = erased["told"]
    sultana("retract", "--undo", first["retraction_id"], "--reason", "consent")
    made.run(to="instruction_embeddings")
    rows = tables.read(newest(made, "instructions")).to_pylist()
    assert SECRET in {row["messages"][0]["content"] for row in rows}
    embedded = tables.read(newest(made, "instruction_embeddings")).to_pylist()
    (vector,) = [row["vector"] for row in embedded if row["instruction_id"] == erased["secret"]]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=0.01)
    add_states([erased["secret"]])
    assert FeatureStore(tables, "run").read("a" * 32, [erased["secret"]], STATES)


def test_while_a_run_goes_on_nothing_is_erased(erased: dict[str, Any]) -> None:
    made = erased["made"]
    with open_instance(made.folder) as instance:
        run = instance.create_run_for_job(
            defs.resolve_job_def("prepare_instructions"), status=dg.DagsterRunStatus.STARTED
        )
        found = CliRunner().invoke(app, ["retract", "--source", "x", "--reason", "y", "--erase"])
        assert found.exit_code == 1 and "is going on" in found.stderr
        instance.delete_run(run.run_id)

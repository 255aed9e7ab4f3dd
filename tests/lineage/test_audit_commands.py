"""`sultana audit` and `sultana trace` over a real run: what a person asks, and what each answer is checked against."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from assets.lineage.audit.backward import Backward
from assets.lineage.audit.forward import parse
from assets.lineage.audit.influence import gains_of
from assets.materialization import started_by
from assets.materialized import follow, materializations
from assets.selection.realised import FACT
from orchestration.audit_shown import show_audit
from orchestration.auditing import audit
from orchestration.instance import open_instance
from orchestration.trace_shown import show_trace
from orchestration.tracing import trace
from resources.definitions import Storage
from resources.errors import SultanaError


@pytest.fixture
def data(registered_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SULTANA_DATA", str(registered_data))
    return registered_data


def table(
    data: Path, asset: str, name: str | None = None, partition: str | None = None
) -> list[dict[str, Any]]:
    with open_instance(data) as instance:
        ref = materializations(instance, asset, partition)[0].table()
    rows: list[dict[str, Any]] = Storage(folder=str(data)).tables().read(ref).to_pylist()
    return rows


def audited(data: Path) -> Backward:
    with open_instance(data) as instance:
        curriculum = materializations(instance, "curriculum", "0|random")[0]
        clusters = follow(instance, curriculum, "diversity_clusters")
        return Backward(
            Storage(folder=str(data)).tables(),
            curriculum.table(),
            curriculum.record["facts"]["curriculum_id"],
            follow(instance, clusters, "instructions").table("instructions"),
            follow(instance, clusters, "interpolated_instructions").table(),
        )


def printed(show: Any, found: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(found, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_an_audit_counts_what_the_ledger_holds_and_names_the_chain(data: Path, tmp_path: Path) -> None:
    found = audit("sultana/1", tmp_path / "rows.parquet")
    ledger = table(data, "curriculum", partition="0|random")
    assert found["totals"]["slots"] == len(ledger) == found["rows_file"]["rows"]
    assert found["totals"]["distinct_rows"] == len({row["row_id"] for row in ledger})
    assert {one["asset"] for one in found["chain"]} == {
        *("checkpoint", "curriculum", "diversity_clusters", "benchmark_splits", "instructions"),
        *("raw_instructions", "retractions", "instruction_embeddings", "interpolated_instructions"),
    }
    assert found["chain"][0]["asset"] == "checkpoint" and found["chain"][0]["started_by"] == "command line"
    assert found["manifest"]["agrees"] is None and found["contamination"]
    assert orjson.dumps(found)
    shown = printed(show_audit, found)
    assert "sultana version 1" in shown and "Where its rows came from" in shown and "command line" in shown
    assert "Influence by gain: none recorded" in shown

    losses = {"after_steps": [0, found["totals"]["steps"]], "losses": [2.0, 1.5]}
    with_gains = replace(audited(data), gains=gains_of({FACT: losses})).totals()
    shown = printed(show_audit, found | {"totals": with_gains})
    assert "Top influences: rows" in shown and "+0.5000 in all" in shown


def test_every_slot_of_the_ledger_leads_to_a_line_that_holds_its_row(data: Path, tmp_path: Path) -> None:
    audit("sultana/1", tmp_path / "rows.parquet")
    raw = {row["origin_id"]: row for row in table(data, "raw_instructions")}
    files: Counter[str] = Counter()
    for row in pq.read_table(tmp_path / "rows.parquet").to_pylist():
        for parent in row["parents"]:
            for origin in parent["origins"]:
                there = raw[origin["origin_id"]]
                assert (there["file"], there["position"]) == (origin["file"], origin["position"])
                assert there["instruction_id"] is not None
                files[origin["file"]] += 1
    assert files


def test_a_row_is_traced_from_its_line_to_the_models_that_saw_it(data: Path) -> None:
    ledger = table(data, "curriculum", partition="0|random")
    chosen = next(row["row_id"] for row in ledger if row["kind"] == "original")
    by_id = trace(chosen)
    origin = by_id["origins"][0]
    assert origin["state"] == "kept" and origin["kept_as"] == chosen and origin["text"]
    expected = [(row["step"], row["slot"]) for row in ledger if row["row_id"] == chosen]
    assert [(one["step"], one["slot"]) for one in by_id["chosen"] if one["kind"] == "original"] == expected
    (model,) = by_id["models"]
    assert (model["model"], model["version"], model["slots"]) == ("sultana", 1, len(by_id["chosen"]))
    by_line = trace(f"{origin['file']}:{origin['position']}")
    assert by_line["chosen"] == by_id["chosen"] and by_line["models"] == by_id["models"]
    by_origin = trace(origin["origin_id"])
    assert by_origin["models"] == by_id["models"]
    shown = printed(show_trace, by_id)
    assert "Models that saw it" in shown and "sultana version 1" in shown


def test_a_row_is_traced_into_its_mixes(data: Path) -> None:
    recipe = table(data, "interpolated_instructions")[0]
    for side, other, share in (
        ("parent_a", "parent_b", recipe["lambda"]),
        ("parent_b", "parent_a", 1 - recipe["lambda"]),
    ):
        found = trace(recipe[side])
        (mix,) = (one for one in found["mixes"] if one["recipe_id"] == recipe["recipe_id"])
        assert mix["share"] == pytest.approx(share) and mix["mixed_with"] == recipe[other]
        assert "Mixed with" in printed(show_trace, found)
    itself = trace(recipe["recipe_id"])
    assert [one["instruction_id"] for one in itself["mixes"]] == [recipe["parent_a"], recipe["parent_b"]]
    assert all(one["share"] == 1.0 for one in itself["chosen"])


def test_what_was_not_kept_says_why(data: Path) -> None:
    dropped = table(data, "dropped_instructions")
    for reason in sorted({row["reason"] for row in dropped}):
        row = next(one for one in dropped if one["reason"] == reason)
        found = trace(row["origin_id"])["origins"][0]
        assert (found["state"], found["why"]) == ("dropped", reason)
        assert found["collides_with"] == row["collides_with"]
        assert (found["kept_as"] is not None) is (reason == "exact_duplicate")
    quarantined = table(data, "quarantine")[0]
    found = trace(quarantined["origin_id"])
    assert (
        found["origins"][0]["state"] == "quarantined" and quarantined["reason"] in found["origins"][0]["why"]
    )
    assert found["models"] == [] and "No registered model was trained on it." in printed(show_trace, found)


@pytest.mark.parametrize(
    "text", ["", "abc", "G" * 32, "file.jsonl", "file.jsonl:0", "file.jsonl:-1", "file.jsonl:x"]
)
def test_what_is_neither_an_id_nor_a_place_is_refused(text: str) -> None:
    with pytest.raises(SultanaError, match="neither an id nor a place"):
        parse(text)


@pytest.mark.parametrize("text", ["0" * 32, "nothing.jsonl:1", "o'hara'); --.jsonl:3", "a\nb:7"])
def test_what_nobody_knows_is_said(data: Path, text: str) -> None:
    with pytest.raises(SultanaError, match="Nothing is known of"):
        trace(text)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rows.csv", "does not end in .parquet or .jsonl"),
        ("there.jsonl", "exists already"),
        ("no/rows.jsonl", "does not exist"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_first(
    data: Path, tmp_path: Path, name: str, told: str
) -> None:
    (tmp_path / "there.jsonl").touch()
    with pytest.raises(SultanaError, match=told):
        audit("sultana/1", tmp_path / name)


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"sultana/started_by": "command line"}, "command line"),
        ({"dagster/schedule_name": "nightly_training"}, "schedule nightly_training"),
        ({"dagster/sensor_name": "cheap_stages_follow"}, "sensor cheap_stages_follow"),
        ({"dagster/backfill": "abc"}, "backfill abc"),
        ({}, "by hand, through Dagster"),
    ],
)
def test_who_started_a_run(tags: dict[str, str], told: str) -> None:
    assert started_by(tags) == told

"""Backward: every slot leads to the line of a file, and totals count what stands behind slots."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tables import HOSTILE, ROWS, Small

from assets.lineage.audit.backward import LEDGER_ROW, Backward
from assets.lineage.audit.forward import choices, mixes
from assets.lineage.audit.origins import NO_LICENCE
from assets.lineage.audit.rows_file import write_rows_file
from assets.records import INSTRUCTIONS
from assets.selection.reading import NO_TASK
from resources.errors import SultanaError
from resources.table_refs import Provenance


@pytest.fixture
def backward(small: Small) -> Backward:
    sources = small.curriculum_sources
    assert sources.curriculum is not None and sources.curriculum_id is not None
    return Backward(
        small.tables,
        curriculum=sources.curriculum,
        curriculum_id=sources.curriculum_id,
        instructions=sources.instructions,
        recipes=sources.recipes,
    )


def rows_of(backward: Backward) -> list[dict[str, Any]]:
    return [row for batch in backward.batches() for row in batch.to_pylist()]


def test_every_slot_leads_to_lines_of_files(backward: Backward) -> None:
    rows = rows_of(backward)
    assert [(row["step"], row["slot"], row["row_id"]) for row in rows] == [
        (0, 0, "apple"),
        (0, 1, "mix-1"),
        (1, 0, "apple"),
        (1, 1, "mix-2"),
    ]
    first, mixed = rows[0], rows[3]
    assert [(one["instruction_id"], one["share"]) for one in first["parents"]] == [("apple", 1.0)]
    assert first["parents"][0]["origins"][0]["file"] == "/home/somebody/secret/a.jsonl"
    assert [(one["instruction_id"], one["share"]) for one in mixed["parents"]] == [
        ("date", 0.75),
        ("berry", 0.25),
    ]
    assert [origin["position"] for origin in mixed["parents"][1]["origins"]] == [1, 2]
    assert mixed["weight"] == 1.0 and mixed["reason"] == "why" and mixed["policy_sha256"] == "a" * 64


def test_totals_share_the_slots_of_mixed_rows_between_their_parents(backward: Backward) -> None:
    totals = backward.totals()
    assert {name: totals[name] for name in ("steps", "slots", "distinct_rows", "distinct_instructions")} == {
        "steps": 2,
        "slots": 4,
        "distinct_rows": 3,
        "distinct_instructions": 4,
    }
    assert totals["interpolated_slots"] == 2 and totals["interpolated_rows"] == 2
    sources = {(one["source"], one["licence"]): one for one in totals["sources"]}
    # apple twice, and its share of mix-1; berry, cherry and date are in the source "two", berry in both.
    assert sources["one", "MIT"]["slots"] == pytest.approx(2.123456)
    assert sources["two", "CC-BY-4.0"]["slots"] == pytest.approx(1 - 0.123456 + 1)
    assert sources["one", NO_LICENCE]["slots"] == pytest.approx(0.25)
    assert sources["two", "CC-BY-4.0"]["instructions"] == 3
    tasks = {one["task"]: one["slots"] for one in totals["tasks"]}
    assert tasks == pytest.approx({HOSTILE: 2.123456, "plain": 1 - 0.123456 + 0.75, NO_TASK: 0.25})
    assert sum(tasks.values()) == pytest.approx(totals["slots"])
    assert totals["most_used"][0] == {
        "row_id": "apple",
        "kind": "original",
        "slots": 2,
        "weight": 1.25,
        "first_step": 0,
        "reason": "why",
    }


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_the_ledger_is_written_with_its_origins(backward: Backward, tmp_path: Path, name: str) -> None:
    assert write_rows_file(tmp_path / name, LEDGER_ROW, backward.batches()) == 4
    if name.endswith(".parquet"):
        found = pq.read_table(tmp_path / name)
        assert found.schema.equals(LEDGER_ROW)
        assert found.to_pylist() == rows_of(backward)
    else:
        lines = (tmp_path / name).read_bytes().splitlines()
        assert [orjson.loads(line) for line in lines] == rows_of(backward)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (ROWS[:1], "have no instruction in instructions version"),
        ([{**ROWS[0], "origins": []}, *ROWS[1:]], "no origin"),
    ],
    ids=["row", "origin"],
)
def test_a_broken_link_is_named(tmp_path: Path, rows: list[dict[str, object]], told: str) -> None:
    small = Small(tmp_path)
    table = pa.Table.from_pylist([{**row, "scores": None} for row in rows], schema=INSTRUCTIONS.schema)
    broken = small.tables.write(
        INSTRUCTIONS,
        table,
        mode="overwrite",
        provenance=Provenance("run", "instructions", "other"),
    )
    sources = small.curriculum_sources
    assert sources.curriculum is not None and sources.curriculum_id is not None
    audited = Backward(
        small.tables, sources.curriculum, sources.curriculum_id, instructions=broken, recipes=sources.recipes
    )
    with pytest.raises(SultanaError, match="lineage is broken") as caught:
        audited.totals()
    assert told in str(caught.value)
    with pytest.raises(SultanaError, match="has no entry"):
        replace(audited, curriculum_id="0" * 32).totals()


def test_a_row_is_found_in_every_slot_of_its_own_and_of_its_mixes(small: Small) -> None:
    found = {row["recipe_id"]: row for row in mixes(small.tables, small.sources.recipes, ["apple"])}
    assert {name: (row["mixed_with"], row["share"]) for name, row in found.items()} == {
        "mix-1": ("cherry", 0.123456)
    }
    slots = [(row["step"], row["slot"], row["row_id"]) for row in choices(small.tables, {"apple", *found})]
    assert slots == [(0, 0, "apple"), (0, 1, "mix-1"), (1, 0, "apple")]
    assert choices(small.tables, ["cherry"]) == [] and choices(small.tables, []) == []
    assert [row["share"] for row in mixes(small.tables, small.sources.recipes, ["cherry"])] == [
        pytest.approx(1 - 0.123456),
        0.5,
    ]

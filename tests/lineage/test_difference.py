"""What changed between two lineages is what a comparison of dictionaries finds, however the work is parted."""

import copy
import random
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from audit_world import STEPS, World, parents_of

from assets.lineage.audit.rows_file import write_rows_file
from assets.lineage.difference import tables as difference
from assets.lineage.difference.associations import beside_shares
from assets.lineage.difference.chains import compare_chains
from assets.lineage.difference.curricula import CurriculumDifference
from assets.lineage.difference.differing import DIFFERING_ROW
from assets.lineage.difference.fingerprints import fingerprints
from assets.lineage.difference.tables import compare_tables
from assets.records import INSTRUCTIONS, INTERPOLATED_INSTRUCTIONS, RAW_INSTRUCTIONS, Record
from assets.selection.reading import NO_TASK


def table_of(record: Record, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=record.schema)


def edited(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some removed, some added, some with another task, origin, licence or score, in another order."""
    draw = random.Random(1)
    found = copy.deepcopy(rows[7:])
    found[0]["task"] = "another"
    found[1]["origins"].append({**found[1]["origins"][0], "position": 99})
    found[2]["origins"][0]["licence"] = "GPL"
    found[3]["scores"] = [{"name": "quality", "value": 0.5}]
    found[4]["origins"] = found[4]["origins"][::-1]
    found += [{**copy.deepcopy(rows[0]), "instruction_id": f"new-{number}"} for number in range(9)]
    return draw.sample(found, len(found))


@pytest.mark.parametrize("part_rows", [1 << 20, 5])
def test_rows_that_differ_are_those_that_dictionaries_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_rows: int
) -> None:
    monkeypatch.setattr(difference, "PART_ROWS", part_rows)
    monkeypatch.setattr(difference, "BATCH_ROWS", 7)
    world = World(tmp_path / "lance", 0)
    theirs = edited(world.instructions)
    other = world.write(INSTRUCTIONS, table_of(INSTRUCTIONS, theirs))
    found = compare_tables(world.tables, world.backward.instructions, other)
    assert found is not None
    told = found.to_json()

    a = {row["instruction_id"]: row for row in world.instructions}
    b = {row["instruction_id"]: row for row in theirs}
    expected = {
        "removed": [b_or_a for name, b_or_a in a.items() if name not in b],
        "added": [row for name, row in b.items() if name not in a],
        "changed": [row for name, row in b.items() if name in a and a[name] != row],
    }
    assert {what: told[what]["rows"] for what in expected} == {
        what: len(rows) for what, rows in expected.items()
    }
    assert told["removed"]["rows"] == 7 and told["added"]["rows"] == 9
    for what, rows in expected.items():
        assert told[what]["examples"] == [row["instruction_id"] for row in rows][:5]
        places = Counter(
            place for row in rows for place in {(one["source"], one["licence"]) for one in row["origins"]}
        )
        assert {(one["source"], one["licence"]): one["rows"] for one in told[what]["sources"]} == places
        tasks = Counter(row["task"] for row in rows if row["task"] is not None)
        assert {one["task"]: one["rows"] for one in told[what]["tasks"]} == tasks

    assert write_rows_file(tmp_path / "rows.jsonl", DIFFERING_ROW, found.rows()) == 7 + 9 + 2 * len(
        expected["changed"]
    )
    rows = [orjson.loads(line) for line in (tmp_path / "rows.jsonl").read_bytes().splitlines()]
    for side, sides in (("a", a), ("b", b)):
        mine = [row for row in rows if row["side"] == side]
        assert {row["row_id"] for row in mine if row["change"] == "changed"} == {
            row["instruction_id"] for row in expected["changed"]
        }
        for row in mine:
            assert row["origins"] == sides[row["row_id"]]["origins"]


def test_one_content_is_not_read(tmp_path: Path) -> None:
    world = World(tmp_path, 0)
    (ref, path) = world.backward.instructions, world.tables.path("instructions")
    path.rename(tmp_path / "away")  # reading it would fail
    assert compare_tables(world.tables, ref, ref) is None


def test_mixes_and_raw_rows_tell_what_they_are(tmp_path: Path) -> None:
    world = World(tmp_path, 0)
    other = world.write(INTERPOLATED_INSTRUCTIONS, table_of(INTERPOLATED_INSTRUCTIONS, world.recipes[1:]))
    found = compare_tables(world.tables, world.backward.recipes, other)
    assert found is not None
    (row,) = (row for batch in found.rows() for row in batch.to_pylist())
    lost = world.recipes[0]
    assert (row["row_id"], row["parents"]) == (lost["recipe_id"], [lost["parent_a"], lost["parent_b"]])
    assert row["origins"] is None and row["slots"] is None

    raw = [
        {
            **dict.fromkeys(RAW_INSTRUCTIONS.schema.names),
            "origin_id": f"origin-{number}",
            "source": "one",
            "file": "a.jsonl",
            "file_sha256": "f" * 64,
            "position": number,
            "licence": None,
            "task": "sums",
        }
        for number in range(1, 4)
    ]
    refs = [world.write(RAW_INSTRUCTIONS, table_of(RAW_INSTRUCTIONS, rows)) for rows in (raw, raw[1:])]
    found = compare_tables(world.tables, *refs)
    assert found is not None
    (row,) = (row for batch in found.rows() for row in batch.to_pylist())
    assert row["origins"] == [
        {
            "origin_id": "origin-1",
            "source": "one",
            "file": "a.jsonl",
            "file_sha256": "f" * 64,
            "position": 1,
            "licence": None,
        }
    ]
    assert row["tasks"] == ["sums"] and row["change"] == "only" and row["side"] == "a"


def test_a_fingerprint_is_that_of_its_row_and_of_no_other() -> None:
    origin = {
        "origin_id": "o",
        "source": "s",
        "file": "f",
        "file_sha256": "h",
        "position": 1,
        "licence": None,
    }
    base = {"instruction_id": "i", "task": "t", "messages": [], "origins": [origin], "scores": None}
    other_origin = {**origin, "source": "f", "file": "s"}
    rows = [
        base,
        {**base, "task": None},
        {**base, "task": ""},
        {**base, "origins": []},
        {**base, "origins": [origin, origin]},
        {**base, "origins": [other_origin]},
        {**base, "origins": [origin, other_origin]},
        {**base, "origins": [other_origin, origin]},
        {**base, "origins": [{**origin, "position": 2}]},
        {**base, "origins": [{**origin, "licence": ""}]},
        {**base, "scores": []},
        {**base, "scores": [{"name": "q", "value": 0.0}]},
        {**base, "scores": [{"name": "q", "value": 1.0}]},
    ]
    columns = ["task", "origins", "scores"]
    table = table_of(INSTRUCTIONS, rows)
    (batch,) = table.to_batches()
    whole = fingerprints(batch, columns).tolist()
    assert len(set(whole)) == len(rows)
    alone = [
        fingerprints(table_of(INSTRUCTIONS, [row]).to_batches()[0], columns)[0] for row in reversed(rows)
    ]
    assert [int(one) for one in alone][::-1] == whole
    assert fingerprints(batch.slice(5), columns).tolist() == whole[5:]


def two_worlds(folder: Path) -> tuple[World, World]:
    """Of one folder, with pools that share rows and ledgers of their own."""
    return World(folder, 0), World(folder, 1, 0.1, identity="b" * 32)


def test_curricula_are_compared_as_sets_of_rows(tmp_path: Path) -> None:
    ours, theirs = two_worlds(tmp_path)
    found = CurriculumDifference(ours.backward, theirs.backward)
    told = found.to_json()
    sides = {"a": ours, "b": theirs}
    rows = {name: [slot[2] for slot in world.slots] for name, world in sides.items()}
    behind = {
        name: {
            parent
            for row in rows[name]
            for parent, _ in parents_of({one["recipe_id"]: one for one in world.recipes}, row)
        }
        for name, world in sides.items()
    }
    for name, other in (("a", "b"), ("b", "a")):
        only = set(rows[name]) - set(rows[other])
        assert told[name]["rows_only_here"] == len(only)
        assert told[name]["slots_only_here"] == sum(row in only for row in rows[name])
        assert told[name]["instructions_only_here"] == len(behind[name] - behind[other])
        assert set(told[name]["row_examples"]) <= only
        assert set(told[name]["instruction_examples"]) <= behind[name] - behind[other]
    assert told["rows_of_both"] == len(set(rows["a"]) & set(rows["b"]))
    assert told["instructions_of_both"] == len(behind["a"] & behind["b"])
    at = next(
        place for place, pair in enumerate(zip(ours.slots, theirs.slots, strict=True)) if pair[0] != pair[1]
    )
    first = told["first_difference"]
    assert (first["step"], first["slot"]) == ours.slots[at][:2]
    assert (first["a"], first["b"]) == (rows["a"][at], rows["b"][at])
    for name in "ab":
        totals = sides[name].backward.totals()
        assert {one["task"]: one[name] for one in told["tasks"] if one[name]} == {
            one["task"]: one["share"] for one in totals["tasks"]
        }

    written = [row for batch in found.rows() for row in batch.to_pylist()]
    for name, other in (("a", "b"), ("b", "a")):
        mine = {row["row_id"]: row for row in written if row["side"] == name}
        assert set(mine) == set(rows[name]) - set(rows[other])
        instructions = {one["instruction_id"]: one for one in sides[name].instructions}
        recipes = {one["recipe_id"]: one for one in sides[name].recipes}
        for row_id, row in mine.items():
            assert row["slots"] == rows[name].count(row_id)
            assert row["first_step"] == min(slot[0] for slot in sides[name].slots if slot[2] == row_id)
            parents = [parent for parent, _ in parents_of(recipes, row_id)]
            assert row["parents"] == parents
            assert row["tasks"] == [instructions[one]["task"] or NO_TASK for one in parents]
            assert row["origins"] == [origin for one in parents for origin in instructions[one]["origins"]]


def test_a_curriculum_cut_short_parts_where_it_ends(tmp_path: Path) -> None:
    ours, theirs = World(tmp_path, 0), World(tmp_path, 0, identity="b" * 32)
    assert CurriculumDifference(ours.backward, theirs.backward).to_json()["first_difference"] is None
    short = World(tmp_path, 0, identity="c" * 32, steps=STEPS - 3)
    for pair in ((ours, short), (short, ours)):
        told = CurriculumDifference(pair[0].backward, pair[1].backward).to_json()["first_difference"]
        assert (told["step"], told["slot"]) == (STEPS - 3, 0)
        assert (told["a"] is None) == (pair[0] is short)


def link(asset: str, storage: int, **changes: Any) -> dict[str, Any]:
    return {
        "asset": asset,
        "partition": None,
        "storage_id": storage,
        "data_version": "d1",
        "made_at": 0.0,
        "made_by_run": "run",
        "code_version": "1",
        "configuration": {"rows": 4, "training": {"rate": 0.1, "layers": []}},
        "settings": {"seed": 0},
        "upstream": {},
        "environment": {
            "git_commit": "c" * 40,
            "git_dirty": False,
            "python": "3.11",
            "packages": {"torch": "2"},
        },
        **changes,
    }


def test_an_asset_that_differs_says_why() -> None:
    source = link("raw_instructions", 1)
    ours = [link("checkpoint", 3, upstream={"raw_instructions": 1}), source]
    changed = link(
        "raw_instructions",
        2,
        data_version="d2",
        configuration={"rows": 5, "training": {"rate": 0.1}},
        environment={
            **source["environment"],
            "git_commit": "e" * 40,
            "packages": {"torch": "3", "peft": "1"},
        },
    )
    theirs = [
        link("checkpoint", 4, upstream={"raw_instructions": 2}, code_version="2", settings={"seed": 1}),
        changed,
        link("instructions", 5),
    ]
    found = {one["asset"]: one for one in compare_chains(ours, theirs)}
    why = {
        name: [(one["what"], one["name"], one["a"], one["b"]) for one in row["why"]]
        for name, row in found.items()
    }
    assert [found[name]["state"] for name in ("checkpoint", "raw_instructions", "instructions")] == [
        "same data",
        "different",
        "only in B",
    ]
    assert why["checkpoint"] == [
        ("code version", "", "1", "2"),
        ("setting", "seed", 0, 1),
        ("upstream data", "raw_instructions", "d1", "d2"),
    ]
    assert why["raw_instructions"] == [
        ("configuration", "rows", 4, 5),
        ("configuration", "training.layers", [], None),
        ("code", "git_commit", "c" * 40, "e" * 40),
        ("package", "peft", None, "1"),
        ("package", "torch", "2", "3"),
    ]
    assert all(one["state"] == "same" and not one["why"] for one in compare_chains(ours, ours))


def test_a_score_stands_beside_the_share_of_its_rows() -> None:
    def score(task: str, low: float, high: float, benchmark: str = "test") -> dict[str, Any]:
        mean = (low + high) / 2
        difference = {"mean": mean, "low": low, "high": high, "questions": 9}
        return {
            "benchmark": benchmark,
            "task": task,
            "metric": "loss",
            "a": 1.0,
            "b": 1.0 - mean,
            "difference": difference,
        }

    curricula = {
        "same": False,
        "tasks": [{"task": "Sums", "a": 0.5, "b": 0.2, "change": 0.3}],
        "sources": [
            {"source": "gsm8k", "licence": "MIT", "a": 0.1, "b": 0.3},
            {"source": "gsm8k", "licence": "other", "a": 0.1, "b": 0.0},
        ],
    }
    rows = [
        score("nothing", -0.1, 0.2),
        score("sums", -0.3, -0.1),
        score("word problems", 0.4, 0.6, "gsm8k"),
        {**score("alone", 0, 0), "difference": None},
    ]
    found = beside_shares(rows, curricula)
    assert [(row["task"], row["changed"]) for row in found] == [
        ("word problems", True),
        ("sums", True),
        ("nothing", False),
        ("alone", False),
    ]
    assert found[0]["share"] == {
        "of": "source",
        "name": "gsm8k",
        "a": 0.2,
        "b": 0.3,
        "change": pytest.approx(-0.1),
    }
    assert found[1]["share"] == {"of": "task", "name": "Sums", "a": 0.5, "b": 0.2, "change": 0.3}
    assert found[2]["share"] is None
    assert all(row["share"] is None for row in beside_shares(rows, {"same": True}))

"""Totals of a ledger as columns equal those counted row by row in plain Python, to the last bit."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from audit_world import STEPS, World, kind_of, parents_of

from assets.lineage.audit import joining
from assets.lineage.audit.backward import LEDGER_ROW
from assets.lineage.audit.influence import Gains, gains_of
from assets.lineage.audit.origins import NO_LICENCE
from assets.records import INSTRUCTIONS, INTERPOLATED_INSTRUCTIONS
from assets.selection.reading import NO_TASK
from assets.selection.realised import FACT, gains_of_steps, measured_losses
from resources.errors import SultanaError
from resources.table_refs import Record


def counted(world: World) -> dict[str, Any]:
    """The totals by loops over dictionaries."""
    recipes = {one["recipe_id"]: one for one in world.recipes}
    instructions = {one["instruction_id"]: one for one in world.instructions}
    uses: dict[str, list[Any]] = {}
    for step, slot, row, weight in world.slots:
        one = uses.setdefault(row, [0, 0.0, step, f"number {slot}"])
        one[0] += 1
        one[1] += weight
    by_instruction: dict[str, float] = defaultdict(float)
    for row, (slots, *_) in uses.items():
        for parent, share in parents_of(recipes, row):
            by_instruction[parent] += share * slots
    places: dict[tuple[str, str], list[float]] = {}
    files = defaultdict(set)
    tasks: dict[str, list[float]] = {}
    for name, used in by_instruction.items():
        one = instructions[name]
        tasks.setdefault(one["task"] or NO_TASK, []).append(used)
        for origin in one["origins"]:
            files[origin["source"], origin["licence"] or NO_LICENCE].add(origin["file_sha256"])
        for place in {(origin["source"], origin["licence"] or NO_LICENCE) for origin in one["origins"]}:
            places.setdefault(place, []).append(used)
    total, mixed = len(world.slots), [row for row in uses if row.startswith("mix")]
    interpolated = sum(uses[row][0] for row in mixed)
    return {
        "steps": STEPS,
        "slots": total,
        "distinct_rows": len(uses),
        "distinct_instructions": len(by_instruction),
        "interpolated_slots": interpolated,
        "interpolated_rows": len(mixed),
        "synthetic_share": interpolated / total,
        "sources": [
            {
                "source": source,
                "licence": licence,
                "files": len(files[source, licence]),
                "instructions": len(used),
                "slots": sum(used),
                "share": sum(used) / total,
            }
            for (source, licence), used in sorted(places.items(), key=lambda item: (-sum(item[1]), item[0]))
        ],
        "tasks": [
            {"task": task, "instructions": len(used), "slots": sum(used), "share": sum(used) / total}
            for task, used in sorted(tasks.items(), key=lambda item: (-sum(item[1]), item[0]))
        ],
        "most_used": [
            {
                "row_id": row,
                "kind": kind_of(row),
                "slots": slots,
                "weight": weight,
                "first_step": step,
                "reason": reason,
            }
            for row, (slots, weight, step, reason) in sorted(
                uses.items(), key=lambda item: (-item[1][0], item[0])
            )[:10]
        ],
    }


@pytest.mark.parametrize(("seed", "mixes"), [(0, 0.4), (1, 0.4), (2, 0.0), (3, 1.0)])
def test_totals_are_those_of_a_count_row_by_row(
    tmp_path: Path, seed: int, mixes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many batches and groups, as a large table has them.
    monkeypatch.setattr(joining, "BATCH_ROWS", 7)
    monkeypatch.setattr(joining, "GATHERED_ROWS", 13)
    world = World(tmp_path, seed, mixes)
    found = world.backward.totals()
    assert found.pop("influences") == {
        "measure": None,
        "told": "none recorded: the strategy measured no loss on the reward split while it chose",
        "sum": None,
        "rows": [],
        "instructions": [],
    }
    assert found == counted(world)


def test_every_slot_has_its_parents_and_their_origins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.lineage.audit.backward.WRITTEN_ROWS", 11)
    world = World(tmp_path, 4)
    recipes = {one["recipe_id"]: one for one in world.recipes}
    instructions = {one["instruction_id"]: one for one in world.instructions}
    batches = list(world.backward.batches())
    assert all(batch.schema.equals(LEDGER_ROW) for batch in batches) and len(batches) == 22
    found = pa.Table.from_batches(batches).to_pylist()
    assert [(row["step"], row["slot"], row["row_id"], row["weight"]) for row in found] == world.slots
    for row in found:
        assert row["parents"] == [
            {
                "instruction_id": parent,
                "share": share,
                "task": instructions[parent]["task"] or NO_TASK,
                "origins": instructions[parent]["origins"],
            }
            for parent, share in parents_of(recipes, row["row_id"])
        ]


def test_a_rows_influence_is_its_part_of_the_gains_of_its_steps(tmp_path: Path) -> None:
    world = World(tmp_path, 5)
    losses = [2.0]
    for step in range(STEPS):
        losses.append(losses[-1] - (0.01 * (step % 7) - 0.02) if (step + 1) % 4 == 0 else losses[-1])
    losses[-1] = losses[-2] - 0.5
    record = measured_losses(losses, 4)
    assert record["after_steps"] == [*range(0, STEPS, 4), STEPS]
    facts = {FACT: record, "method": "raise"}
    found = replace(world.backward, gains=gains_of(facts)).totals()["influences"]
    assert found["measure"] == "realised"
    assert found["sum"] == pytest.approx(losses[0] - losses[-1])

    recipes = {one["recipe_id"]: one for one in world.recipes}
    gain = gains_of_steps(record, STEPS)
    of_rows: dict[str, float] = defaultdict(float)
    of_instructions: dict[str, float] = defaultdict(float)
    for step, _, row, weight in world.slots:
        part = weight / sum(one[3] for one in world.slots if one[0] == step) * gain[step]
        of_rows[row] += part
        for parent, share in parents_of(recipes, row):
            of_instructions[parent] += share * part
    best = sorted(of_rows.items(), key=lambda item: -item[1])[:10]
    assert [row["row_id"] for row in found["rows"]] == [row for row, _ in best]
    assert [row["gain"] for row in found["rows"]] == pytest.approx([one for _, one in best])
    behind = sorted(of_instructions.items(), key=lambda item: -item[1])[:10]
    assert [row["instruction_id"] for row in found["instructions"]] == [row for row, _ in behind]
    tasks = {one["instruction_id"]: one["task"] or NO_TASK for one in world.instructions}
    for row in found["instructions"]:
        assert row["task"] == tasks[row["instruction_id"]] and row["sources"]


def test_a_gain_that_was_only_promised_is_called_so(tmp_path: Path) -> None:
    world = World(tmp_path, 6)
    gains = gains_of({"method": "gradient_alignment", FACT: None})
    found = replace(world.backward, gains=gains).totals()["influences"]
    assert found["measure"] == "promised" and "not realised" in found["told"]
    assert found["sum"] == pytest.approx(sum(world.scores))


@pytest.mark.parametrize("every", [1, 3, 7, 10])
def test_measured_losses_say_the_gain_of_each_step(every: int) -> None:
    losses = [3.0 - 0.1 * (step // every * every if step < 10 else 10) for step in range(11)]
    record = measured_losses(losses, every)
    assert len(record["losses"]) == -(-10 // every) + 1
    np.testing.assert_allclose(gains_of_steps(record, 10), 0.1)
    with pytest.raises(ValueError, match="not those of 9 steps"):
        gains_of_steps(record, 9)


@pytest.mark.parametrize(
    ("record", "key", "what"),
    [
        (INSTRUCTIONS, "instruction_id", "instruction"),
        (INTERPOLATED_INSTRUCTIONS, "recipe_id", "recipe"),
    ],
)
def test_a_lost_row_is_named(tmp_path: Path, record: Record, key: str, what: str) -> None:
    world = World(tmp_path, 7)
    used = sorted({row for _, _, row, _ in world.slots})
    lost = next(row for row in used if (kind_of(row) == "interpolated") is (what == "recipe"))
    rows = world.recipes if what == "recipe" else world.instructions
    kept = pa.Table.from_pylist([one for one in rows if one[key] != lost], schema=record.schema)
    changed = {"recipes" if what == "recipe" else "instructions": world.write(record, kept)}
    broken = replace(world.backward, **changed)
    for asked in (broken.totals, lambda: list(broken.batches())):
        with pytest.raises(SultanaError, match=rf"1 rows of .* no {what} in .* among them {lost}\."):
            asked()


def test_no_gains_of_another_run_are_taken(tmp_path: Path) -> None:
    gains = Gains("realised", "", measured_losses([1.0, 0.5], 1))
    with pytest.raises(ValueError, match="not those of 30 steps"):
        replace(World(tmp_path, 8).backward, gains=gains).totals()

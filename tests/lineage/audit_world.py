"""A pool with mixes, in real tables, and a ledger that repeats rows: what audits and comparisons are tried on."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa

from assets.identity import digest
from assets.ledger import Entry, Selection, curriculum_table
from assets.lineage.audit.backward import Backward
from assets.records import CURRICULUM, INSTRUCTIONS, INTERPOLATED_INSTRUCTIONS
from resources.table_refs import Provenance, Record, TableRef
from resources.tables import LanceTables

STEPS, BATCH = 30, 8
IDENTITY = "a" * 32


class World:
    """A pool of 60 instructions and 40 mixes of them, and a ledger that repeats rows."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        share_of_mixes: float = 0.4,
        identity: str = IDENTITY,
        steps: int = STEPS,
    ) -> None:
        draw = random.Random(seed)
        self.instructions = [_instruction(draw, number) for number in range(60)]
        names = [one["instruction_id"] for one in self.instructions]
        self.recipes = [_recipe(draw, number, names[:20]) for number in range(40)]  # parents are shared
        mixes = [one["recipe_id"] for one in self.recipes]
        self.slots = []
        for step in range(steps):
            taken = [draw.choice(mixes if draw.random() < share_of_mixes else names) for _ in range(BATCH)]
            self.slots += [
                (step, slot, row, draw.choice([1.0, 0.5, 0.1, 0.3])) for slot, row in enumerate(taken)
            ]
        entries = [
            Entry(row, kind_of(row), 0, draw.random(), weight, f"number {slot}", digest(step))
            for step, slot, row, weight in self.slots
        ]
        selections = [
            Selection(step, tuple(entries[step * BATCH : (step + 1) * BATCH])) for step in range(steps)
        ]
        self.tables = LanceTables(folder)
        ledger = curriculum_table(identity, "raise", 0, selections)
        others = curriculum_table("f" * 32, "random", 0, selections[:2])
        mixed_up = pa.concat_tables([others, ledger.take(draw.sample(range(len(ledger)), len(ledger)))])
        self.backward = Backward(
            self.tables,
            curriculum=self.write(CURRICULUM, mixed_up),
            curriculum_id=identity,
            instructions=self.write(
                INSTRUCTIONS, pa.Table.from_pylist(self.instructions, schema=INSTRUCTIONS.schema)
            ),
            recipes=self.write(
                INTERPOLATED_INSTRUCTIONS,
                pa.Table.from_pylist(self.recipes, schema=INTERPOLATED_INSTRUCTIONS.schema),
            ),
        )
        self.scores = [entry.score for entry in entries]

    def write(self, record: Record, rows: pa.Table) -> TableRef:
        name = digest([record.table, rows.to_pylist()])
        return self.tables.write(
            record,
            rows,
            mode="overwrite",
            provenance=Provenance("run", record.table, name[:32]),
        )


def kind_of(row: str) -> str:
    return "interpolated" if row.startswith("mix") else "original"


def _instruction(draw: random.Random, number: int) -> dict[str, Any]:
    places = draw.choice([1, 1, 2, 3])
    return {
        "instruction_id": f"row-{number}-é",
        "task": draw.choice(["sums", "", None, "a\nb"]),
        "messages": [{"role": "user", "content": "x"}],
        "origins": [
            {
                "origin_id": f"{number}-{place}",
                "source": draw.choice(["one", "two", "three"]),
                "file": "f",
                "file_sha256": draw.choice("abcd"),
                "position": place,
                "licence": draw.choice(["MIT", "", None]),
            }
            for place in range(places)
        ],
        "scores": None,
    }


def _recipe(draw: random.Random, number: int, names: list[str]) -> dict[str, Any]:
    parent_a, parent_b = draw.sample(names, 2)
    return {
        "recipe_id": f"mix-{number}",
        "parent_a": parent_a,
        "parent_b": parent_b,
        "lambda": draw.random(),
        "seed": 0,
        "layer": 0,
        "alignment": "start",
        "task_a": "",
        "task_b": "",
    }


def parents_of(recipes: dict[str, Any], row: str) -> list[tuple[str, float]]:
    if row not in recipes:
        return [(row, 1.0)]
    one = recipes[row]
    return [(one["parent_a"], one["lambda"]), (one["parent_b"], 1.0 - one["lambda"])]

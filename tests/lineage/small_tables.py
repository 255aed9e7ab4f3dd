"""Tables made by hand, with what a run seldom has: hostile names, paths, several origins, weights, layers."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from assets.ledger import Entry, Selection, curriculum_table
from assets.lineage.exports.curated import Curated, Sources
from assets.lineage.exports.folder import Counts, Description
from assets.lineage.exports.layout import PARTS
from assets.records import CURRICULUM, DIVERSITY_CLUSTERS, INSTRUCTIONS, INTERPOLATED_INSTRUCTIONS
from resources.table_refs import Provenance, Record, TableRef
from resources.tables import LanceTables

HOSTILE = "<img src=x onerror=alert(1)>|[x](javascript:y)\n# `h`"
CURRICULUM_ID = "c" * 32


def instruction(name: str, task: str | None, *origins: tuple[str, str, str | None]) -> dict[str, Any]:
    """A row of INSTRUCTIONS; `origins` are (source, file, licence)."""
    return {
        "instruction_id": name,
        "task": task,
        "messages": [
            {"role": "user", "content": f'Say {name}.\u2028 <|im_end|> "quoted"'},
            {"role": "assistant", "content": f"The word is {name}, as you asked."},
        ],
        "origins": [
            {
                "origin_id": f"{name}-{place}",
                "source": source,
                "file": file,
                "file_sha256": "f" * 64,
                "position": place,
                "licence": licence,
            }
            for place, (source, file, licence) in enumerate(origins, 1)
        ],
    }


def recipe(name: str, parent_a: str, parent_b: str, weight: float, **changes: Any) -> dict[str, Any]:
    """A row of INTERPOLATED_INSTRUCTIONS."""
    return {
        "recipe_id": name,
        "parent_a": parent_a,
        "parent_b": parent_b,
        "lambda": weight,
        "seed": 7,
        "layer": 0,
        "alignment": "response_border",
        "task_a": HOSTILE,
        "task_b": "plain",
        **changes,
    }


ROWS = [
    instruction("apple", HOSTILE, ("one", "/home/somebody/secret/a.jsonl", "MIT")),
    instruction("berry", None, ("one", "part/b.jsonl", None), ("two", "c.jsonl", "CC-BY-4.0")),
    instruction("cherry", "plain", ("two", "c.jsonl", "CC-BY-4.0")),
    instruction("date", "plain", ("two", "c.jsonl", "CC-BY-4.0")),
]
RECIPES = [
    recipe("mix-1", "apple", "cherry", 0.123456),
    recipe("mix-2", "date", "berry", 0.75, alignment="shorter"),
    recipe("mix-3", "cherry", "date", 0.5, layer=2, alignment="start"),
]
CHOSEN = ("apple", "berry", "mix-1", "mix-3")


class Small:
    """Tables of four instructions and three recipes, of which CHOSEN are representatives."""

    def __init__(self, folder: Path) -> None:
        self.tables = LanceTables(folder / "lance")
        ids = [row["instruction_id"] for row in ROWS] + [row["recipe_id"] for row in RECIPES]
        clusters = [
            {
                "row_id": row_id,
                "kind": "interpolated" if row_id.startswith("mix") else "original",
                "cluster": place % 2,
                "distance": 0.1 * place,
                "density": 0.7,
                "rank": place,
                "representative": row_id in CHOSEN,
            }
            for place, row_id in enumerate(ids)
        ]
        uses = [("apple", 1.0), ("mix-1", 0.5), ("apple", 0.25), ("mix-2", 1.0)]
        entries = [
            Entry(
                name,
                "interpolated" if name.startswith("mix") else "original",
                0,
                0.0,
                weight,
                "why",
                "a" * 64,
            )
            for name, weight in uses
        ]
        selections = [Selection(0, tuple(entries[:2])), Selection(1, tuple(entries[2:]))]
        self.sources = Sources(
            instructions=self._write(INSTRUCTIONS, ROWS),
            recipes=self._write(INTERPOLATED_INSTRUCTIONS, RECIPES),
            clusters=self._write(DIVERSITY_CLUSTERS, clusters),
        )
        ledger = curriculum_table(CURRICULUM_ID, "random", 0, selections)
        self.curriculum_sources = Sources(
            self.sources.instructions,
            self.sources.recipes,
            self.sources.clusters,
            self._write(CURRICULUM, ledger.to_pylist()),
            CURRICULUM_ID,
        )

    def _write(self, record: Record, rows: list[dict[str, Any]]) -> TableRef:
        columns = [row | dict.fromkeys(set(record.schema.names) - row.keys()) for row in rows]
        return self.tables.write(
            record,
            pa.Table.from_pylist(columns, schema=record.schema),
            mode="overwrite",
            provenance=Provenance("run", record.table, record.table),
        )

    def curated(self, curriculum: bool = False) -> Curated:
        """The representatives, or the curriculum."""
        return Curated(self.tables, self.curriculum_sources if curriculum else self.sources)

    def description(self, curriculum: bool = False) -> Description:
        """As a run would have recorded it; with a path of this machine where one could be."""
        made = {
            "instructions": ({"seed": 0}, {"instructions": self.sources.instructions}),
            "raw_instructions": ({"sources": ["/home/somebody/secret/a.jsonl"]}, {}),
            "instruction_embeddings": ({}, {}),
            "interpolated_instructions": (
                {"alpha": 0.4, "note": HOSTILE},
                {"interpolated_instructions": self.sources.recipes},
            ),
            "diversity_clusters": (
                {"clusters": 2, "model": "/home/somebody/embedder"},
                {"diversity_clusters": self.sources.clusters},
            ),
        }
        chain = [
            {
                "asset": asset,
                "partition": None,
                "code_version": "1",
                "data_version": "d" * 32,
                "made_by_run": "run",
                "configuration": configuration,
                "settings": {},
                "facts": {"embedder_fingerprint": "e" * 64} if asset == "instruction_embeddings" else {},
                "tables": {name: ref.to_json() for name, ref in refs.items()},
                "environment": {
                    "git_commit": "0" * 40,
                    "git_dirty": False,
                    "python": "3.11.0",
                    "packages": {"torch": "2.0"},
                },
            }
            for asset, (configuration, refs) in made.items()
        ]
        if curriculum and self.curriculum_sources.curriculum is not None:
            root = {
                **chain[0],
                "asset": "curriculum",
                "partition": "0|random",
                "configuration": {"maximum_length": 64},
                "settings": {"language_model": "b" * 64},
                "facts": {"curriculum_id": CURRICULUM_ID, "strategy": "random", "seed": 0},
                "tables": {"curriculum": self.curriculum_sources.curriculum.to_json()},
            }
            chain = [root, *chain]
        return Description(
            kind="curriculum" if curriculum else "representatives",
            chain=chain,
            sultana={"version": "0", "git_commit": "0" * 40, "git_dirty": True},
            diversity={"vendi_score": 3.25},
            names={"embedder": "/home/somebody/embedder"},
        )


def about_of(small: Small, kind: str = "adapter", **changes: Any) -> dict[str, Any]:
    """The content of a model's export.json."""
    curated, counts = small.curated(curriculum=True), Counts()
    parts = {part: {"rows": len(list(counts.count(part, curated.rows(part))))} for part in PARTS}
    scores = [
        {"task": HOSTILE, "metric": "loss", "split": "test", "value": 1.5, "examples": 4},
        {
            "task": "plain",
            "metric": "loss",
            "split": "test",
            "value": 2.5,
            "examples": 4,
            "standard_error": 0.25,
            "overlapping": 1,
            "value_without_overlap": 2.75,
        },
    ]
    return {
        **small.description(curriculum=True).to_json(),
        "kind": kind,
        "model": {
            "name": "sultana",
            "version": 3,
            "mlflow_run_id": "r",
            "checkpoint_id": "c" * 32,
            "files_manifest_sha256": "f" * 64,
        },
        "base_model": {"name": HOSTILE, "revision": None, "fingerprint": "b" * 64, "hub_id": None},
        "training": {"strategy": "random", "seed": 1234, "steps": 2, "batch_size": 2, "trained_tokens": 691},
        "slots": {"original": 2, "interpolated": 2},
        "parts": parts,
        "counts": counts.to_json(),
        "evaluation": {"rows": scores, "base_rows": [{**scores[1], "value": 3.5}]},
        **changes,
    }

"""What the stage reads from tables for its strategies: the pool with its encodings, scores, tasks."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from assets.finetuning.rows import EncodedRows, encode_rows, read_recipes
from assets.selection.pool import Pool, candidates
from resources.table_refs import TableRef
from resources.tables import LanceTables

NO_TASK = "no task"


def read_pool(
    tables: LanceTables,
    *,
    clusters: TableRef,
    recipes: TableRef,
    conversations: Mapping[str, Sequence[Mapping[str, str]]],
    tokenizer: Any,
    rows: str,
    maximum_length: int,
    size: int,
    seed: int,
) -> tuple[Pool, EncodedRows]:
    """The candidates that strategies may select from, and all rows encoded.

    `rows` is a value of `config.PoolRows`; `size` (0: all) and `seed` say which candidates are drawn.
    Rows that cannot be trained on are left out before.
    """
    found = tables.read(clusters, columns=["row_id", "kind", "cluster", "representative"]).to_pylist()
    if rows == "representatives":
        found = [row for row in found if row["representative"]]
    elif rows == "originals":
        found = [row for row in found if row["kind"] == "original"]
    encoded = encode_rows(
        [row["row_id"] for row in found],
        tokenizer=tokenizer,
        conversations=conversations,
        recipes=read_recipes(tables, recipes),
        maximum_length=maximum_length,
    )
    kept = [row for row in found if row["row_id"] in encoded.rows]
    pool = Pool.build(
        [row["row_id"] for row in kept],
        [row["kind"] for row in kept],
        [row["cluster"] for row in kept],
        [max(parent.trained_tokens for parent in encoded.rows[row["row_id"]].parents) for row in kept],
    )
    return candidates(pool, size or len(pool), seed), encoded


def read_scores(tables: LanceTables, instructions: TableRef) -> dict[str, dict[str, float]]:
    """Every score column of the instructions: name -> instruction id -> number."""
    found: dict[str, dict[str, float]] = {}
    for batch in tables.batches(instructions, columns=["instruction_id", "scores"]):
        for row in batch.to_pylist():
            for score in row["scores"] or []:
                found.setdefault(score["name"], {})[row["instruction_id"]] = score["value"]
    return found


def read_tasks(
    tables: LanceTables, instructions: TableRef, recipes: TableRef, row_ids: Collection[str]
) -> dict[str, list[tuple[str, float]]]:
    """The tasks of rows with weights that sum to 1: an interpolated row is of both parents' tasks, by λ."""
    found: dict[str, list[tuple[str, float]]] = {}
    for batch in tables.batches(recipes, columns=["recipe_id", "task_a", "task_b", "lambda"]):
        for row in batch.to_pylist():
            if row["recipe_id"] in row_ids:
                share = row["lambda"]
                found[row["recipe_id"]] = [(row["task_a"], share), (row["task_b"], 1.0 - share)]
    for batch in tables.batches(instructions, columns=["instruction_id", "task"]):
        for row in batch.to_pylist():
            if row["instruction_id"] in row_ids:
                found[row["instruction_id"]] = [(row["task"] or NO_TASK, 1.0)]
    return found

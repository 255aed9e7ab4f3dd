"""Which table each table asset has, and which columns its columns come from.

A test holds every name to the schemas of `records.py`. Columns that are not named here come from settings, a
model or a source file.
"""

from collections.abc import Mapping, Sequence

from assets.records import (
    BENCHMARK_SPLITS,
    CURRICULUM,
    DIVERSITY_CLUSTERS,
    DROPPED_INSTRUCTIONS,
    EVALUATIONS,
    INSTRUCTIONS,
    INTERPOLATED_INSTRUCTIONS,
    QUARANTINE,
    RAW_INSTRUCTIONS,
    RETRACTIONS,
    Record,
    embeddings_record,
)

Column = tuple[str, str]
"""An asset and one of its columns."""

EMBEDDER_DIMENSION = 384
"""Of the embedded embedder; a materialization shows that of its own."""

TABLES: Mapping[str, Record] = {
    "raw_instructions": RAW_INSTRUCTIONS,
    "benchmark_splits": BENCHMARK_SPLITS,
    "retractions": RETRACTIONS,
    "instructions": INSTRUCTIONS,
    "quarantine": QUARANTINE,
    "dropped_instructions": DROPPED_INSTRUCTIONS,
    "instruction_embeddings": embeddings_record("", EMBEDDER_DIMENSION),
    "interpolated_instructions": INTERPOLATED_INSTRUCTIONS,
    "diversity_clusters": DIVERSITY_CLUSTERS,
    "curriculum": CURRICULUM,
    "baseline_evaluation": EVALUATIONS,
    "evaluation": EVALUATIONS,
}


def _same(asset: str, *columns: str) -> dict[str, list[Column]]:
    return {column: [(asset, column)] for column in columns}


def _all(columns: Sequence[str], *sources: Column) -> dict[str, list[Column]]:
    return {column: list(sources) for column in columns}


_VECTOR = ("instruction_embeddings", "vector")
_ROW = [("instructions", "instruction_id"), ("interpolated_instructions", "recipe_id")]
_PARENTS = [("interpolated_instructions", name) for name in ("parent_a", "parent_b", "lambda")]
_SCORES = ("value", "standard_error", "examples")

COLUMN_LINEAGE: Mapping[str, Mapping[str, Sequence[Column]]] = {
    "instructions": {
        **_same("raw_instructions", "instruction_id", "task", "messages", "scores"),
        "origins": [
            ("raw_instructions", name)
            for name in ("origin_id", "source", "file", "file_sha256", "position", "licence")
        ],
    },
    "quarantine": {
        **_same("raw_instructions", "origin_id", "source", "file", "file_sha256", "position"),
        "reason": [("raw_instructions", "problem"), ("raw_instructions", "messages")],
        "detail": [("raw_instructions", "problem_detail"), ("raw_instructions", "messages")],
        "raw_text": [("raw_instructions", "raw_text"), ("raw_instructions", "messages")],
    },
    "dropped_instructions": {
        **_same("raw_instructions", "origin_id", "instruction_id", "source", "file", "position"),
        **_all(
            ("reason", "collides_with", "similarity"),
            ("raw_instructions", "messages"),
            ("benchmark_splits", "messages"),
            ("benchmark_splits", "response"),
            ("retractions", "kind"),
            ("retractions", "value"),
            ("retractions", "rows"),
        ),
    },
    "instruction_embeddings": {
        **_same("instructions", "instruction_id"),
        "vector": [("instructions", "messages")],
    },
    "interpolated_instructions": {
        **_all(("parent_a", "parent_b"), ("instructions", "instruction_id")),
        **_all(("task_a", "task_b"), ("instructions", "task"), _VECTOR),
        "recipe_id": [("instructions", "instruction_id")],
    },
    "diversity_clusters": {
        "row_id": _ROW,
        **_all(("cluster", "distance", "density", "rank", "representative"), _VECTOR, *_PARENTS),
    },
    "curriculum": {
        "row_id": [("diversity_clusters", "row_id")],
        "kind": [("diversity_clusters", "kind")],
        "cluster": [("diversity_clusters", "cluster")],
        "score": [
            ("diversity_clusters", "row_id"),
            ("benchmark_splits", "messages"),
            ("benchmark_splits", "response"),
        ],
    },
    "baseline_evaluation": {
        **_same("benchmark_splits", "split", "task"),
        **_all(
            _SCORES,
            ("benchmark_splits", "messages"),
            ("benchmark_splits", "response"),
            ("benchmark_splits", "answer"),
        ),
    },
    "evaluation": {
        **_same("benchmark_splits", "split", "task"),
        **_all(
            (*_SCORES, "overlapping", "value_without_overlap"),
            ("benchmark_splits", "messages"),
            ("benchmark_splits", "response"),
            ("benchmark_splits", "answer"),
        ),
    },
}

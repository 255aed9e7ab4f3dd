"""Sorting raw rows into kept, quarantined and dropped ones.

Every raw row ends in exactly one place, and every one that is not kept is a record with its reason:
`retracted` (nothing else is asked of such a row), quarantined (unreadable or invalid), `exact_duplicate` (merged
into the row it names, its origin kept), `contaminated` (shares its n-grams with a benchmark example) or
`near_duplicate`. Contamination is tested before near-duplicates, so that a copy of a test row is never the one
that its twins are merged into.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.identity import instruction_id
from assets.instructions.contamination import contaminated
from assets.instructions.duplicates import near_duplicates
from assets.instructions.retractions import REASON as RETRACTED
from assets.instructions.retractions import Standing
from assets.instructions.text import benchmark_texts, conversation_text
from assets.instructions.validate import normalise, problem_in
from resources.private import mask_private
from resources.progress import Progress
from resources.text import escape_terminal

RAW_TEXT_LIMIT = 200


@dataclass(frozen=True)
class Sorted:
    """Rows of INSTRUCTIONS, QUARANTINE and DROPPED_INSTRUCTIONS, each sorted by its key."""

    kept: list[dict[str, Any]]
    quarantined: list[dict[str, Any]]
    dropped: list[dict[str, Any]]


def sort_rows(
    raw: Iterable[Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
    *,
    near_duplicate_threshold: float,
    contamination_ngram: int,
    contamination_threshold: float,
    seed: int,
    progress: Progress,
    retractions: Standing | None = None,
) -> Sorted:
    """Sorts rows of RAW_INSTRUCTIONS against benchmark `examples` (rows of BENCHMARK_SPLITS) and `retractions`."""
    retractions = retractions or Standing()
    quarantined: list[dict[str, Any]] = []
    merged: dict[str, dict[str, Any]] = {}
    dropped: list[dict[str, Any]] = []
    for row in raw:
        progress.advance()
        if retraction := retractions.of_origin(row["instruction_id"], row):
            dropped.append(_drop(row, row["instruction_id"] or "", RETRACTED, retraction[0], 1.0))
            continue
        if row["problem"]:
            quarantined.append(_quarantine(row, row["problem"], row["problem_detail"], row["raw_text"]))
            continue
        messages = normalise(row["messages"])
        problem = problem_in(messages)
        if problem:
            quarantined.append(
                _quarantine(
                    row,
                    *problem,
                    escape_terminal(mask_private(conversation_text(row["messages"])), RAW_TEXT_LIMIT),
                )
            )
            continue
        key = instruction_id(messages)
        origin = {
            name: row[name] for name in ("origin_id", "source", "file", "file_sha256", "position", "licence")
        }
        if key in merged:
            merged[key]["origins"].append(origin)
            merged[key]["tasks"].append(row["task"])
            merged[key]["scores"].append(row.get("scores"))
        else:
            merged[key] = {
                "instruction_id": key,
                "messages": messages,
                "origins": [origin],
                "tasks": [row["task"]],
                "scores": [row.get("scores")],
            }
    for row in merged.values():
        # The first origin stands for the row; the rest were merged into it. Sorted, so that the order in
        # which sources are read changes nothing.
        order = sorted(range(len(row["origins"])), key=lambda place: row["origins"][place]["origin_id"])
        row["origins"] = [row["origins"][place] for place in order]
        labels = [row["tasks"][place] for place in order]
        row["task"] = next((label for label in labels if label), None)
        del row["tasks"]
        row["scores"] = _first_scores([row["scores"][place] for place in order])
        dropped += [
            _drop(origin, row["instruction_id"], "exact_duplicate", row["instruction_id"], 1.0)
            for origin in row["origins"][1:]
        ]

    ids = sorted(merged)
    texts = [conversation_text(merged[key]["messages"]) for key in ids]
    collisions = contaminated(
        texts,
        ids,
        *benchmark_texts(examples),
        n=contamination_ngram,
        threshold=contamination_threshold,
    )
    for collision in collisions:
        row = merged.pop(collision.instruction_id)
        dropped.append(
            _drop(
                row["origins"][0],
                row["instruction_id"],
                "contaminated",
                collision.example_id,
                collision.share,
            )
        )
    clean = [(text, key) for text, key in zip(texts, ids, strict=True) if key in merged]
    for duplicate in near_duplicates(
        [text for text, _ in clean], [key for _, key in clean], threshold=near_duplicate_threshold, seed=seed
    ):
        row = merged.pop(duplicate.dropped_id)
        dropped.append(
            _drop(
                row["origins"][0],
                row["instruction_id"],
                "near_duplicate",
                duplicate.kept_id,
                duplicate.similarity,
            )
        )
    return Sorted(
        kept=[merged[key] for key in sorted(merged)],
        quarantined=sorted(quarantined, key=lambda row: row["origin_id"]),
        dropped=sorted(dropped, key=lambda row: row["origin_id"]),
    )


def _first_scores(of_origins: Sequence[Sequence[Mapping[str, Any]] | None]) -> list[dict[str, Any]] | None:
    """Each score as the first origin that has it gives it."""
    found: dict[str, float] = {}
    for scores in of_origins:
        for score in scores or ():
            found.setdefault(score["name"], score["value"])
    return [{"name": name, "value": found[name]} for name in sorted(found)] or None


def _quarantine(row: Mapping[str, Any], reason: str, detail: str, raw_text: str) -> dict[str, Any]:
    kept = {name: row[name] for name in ("origin_id", "source", "file", "file_sha256", "position")}
    return {**kept, "reason": reason, "detail": detail, "raw_text": raw_text}


def _drop(
    origin: Mapping[str, Any], row_id: str, reason: str, collides_with: str, similarity: float
) -> dict[str, Any]:
    return {
        "origin_id": origin["origin_id"],
        "instruction_id": row_id,
        "reason": reason,
        "collides_with": collides_with,
        "similarity": float(similarity),
        "source": origin["source"],
        "file": origin["file"],
        "position": origin["position"],
    }

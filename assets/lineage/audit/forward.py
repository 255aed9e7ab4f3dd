"""Forward: where a row went. Kept, merged or dropped and why; mixed with whom; chosen when, by what, with what score.

Rows are asked for by id, or by the file and line where they stood. The tables of raw rows, instructions and
recipes are those that the caller names; the ledger holds every curriculum there ever was.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.identity import ID_LENGTH
from assets.records import CURRICULUM
from resources.errors import SultanaError
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import escape_terminal, id_filter, sql_quote

SHOWN_CHARACTERS = 300
_PLACE = re.compile(r"(?P<file>.+):(?P<line>[1-9][0-9]{0,17})", re.DOTALL)
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
_TOLD_COLUMNS = (
    *("origin_id", "instruction_id", "source", "file", "file_sha256", "position", "licence", "task"),
)
_RAW_COLUMNS = (*_TOLD_COLUMNS, "messages", "problem", "problem_detail", "raw_text")


@dataclass(frozen=True)
class Snapshot:
    """What became of one version of the raw rows."""

    instructions: TableRef
    dropped: TableRef


@dataclass(frozen=True)
class Asked:
    """What was asked for: an id, or the line of a file."""

    row_id: str | None = None
    file: str | None = None
    position: int | None = None


def parse(text: str) -> Asked:
    """An id (32 hexadecimal digits) or FILE:LINE, lines counted from 1. Raises SultanaError for anything else."""
    if _ID.fullmatch(text):
        return Asked(row_id=text)
    if place := _PLACE.fullmatch(text):
        return Asked(file=place["file"], position=int(place["line"]))
    raise SultanaError(
        f'"{escape_terminal(text, 80)}" is neither an id nor a place in a file',
        f"Give {ID_LENGTH} hexadecimal digits as the tables show them, or FILE:LINE such as train.jsonl:12",
        code="row-id-invalid",
    )


def find_origins(tables: LanceTables, raw: TableRef, asked: Asked) -> list[dict[str, Any]]:
    """Raw rows: that of an origin, all those of an instruction, or those on a line of a file of this name.

    A file may be named by the end of its path; none found is an empty list.
    """
    if asked.row_id is not None:
        one = id_filter("origin_id", [asked.row_id]), id_filter("instruction_id", [asked.row_id])
        wanted = " OR ".join(one)
    else:
        file = asked.file or ""
        tail = "/" + file.removeprefix("./")
        wanted = f"position = {asked.position} AND (file = {sql_quote(file)} OR ends_with(file, {sql_quote(tail)}))"
    rows = tables.read(raw, columns=list(_RAW_COLUMNS), filter=wanted).to_pylist()
    return sorted(rows, key=lambda row: (row["file"], row["position"]))


def fate(
    tables: LanceTables, snapshot: Snapshot | None, origins: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What became of raw rows, as JSON values: `state` is kept, dropped, quarantined, left out or read; `why` says it.

    `kept_as` is the instruction that holds the row now: its own, or the one that it is an exact duplicate of.
    Without a snapshot no instructions have been made of these rows.
    """
    dropped: dict[str, Mapping[str, Any]] = {}
    kept: set[str] = set()
    if snapshot is not None:
        ids = [row["origin_id"] for row in origins]
        for row in tables.read(snapshot.dropped, filter=id_filter("origin_id", ids)).to_pylist():
            dropped[row["origin_id"]] = row
        names = {row["instruction_id"] for row in origins if row["instruction_id"]}
        names |= {row["collides_with"] for row in dropped.values() if row["reason"] == "exact_duplicate"}
        wanted = id_filter("instruction_id", sorted(names))
        kept = set(
            tables.read(snapshot.instructions, columns=["instruction_id"], filter=wanted)[
                "instruction_id"
            ].to_pylist()
        )
    return [_fate(row, snapshot, dropped.get(row["origin_id"]), kept) for row in origins]


def _fate(
    row: Mapping[str, Any], snapshot: Snapshot | None, dropped: Mapping[str, Any] | None, kept: set[str]
) -> dict[str, Any]:
    if row["problem"]:
        state, why = "quarantined", f"{row['problem']}: {row['problem_detail'] or ''}"
    elif snapshot is None:
        state, why = "read", "instructions have not been made of these sources"
    elif dropped is not None:
        state, why = "dropped", dropped["reason"]
    elif row["instruction_id"] not in kept:
        state, why = "left out", "not sampled, or read after the instructions were made"
    else:
        state, why = "kept", ""
    text = " ".join(message["content"] for message in row["messages"] or ()) or row["raw_text"] or ""
    merged = dropped["collides_with"] if dropped and dropped["reason"] == "exact_duplicate" else None
    return {
        **{name: row[name] for name in _TOLD_COLUMNS},
        "text": text[:SHOWN_CHARACTERS],
        "state": state,
        "why": why,
        "kept_as": next((one for one in (row["instruction_id"], merged) if one in kept), None),
        "collides_with": dropped["collides_with"] if dropped else None,
        "similarity": dropped["similarity"] if dropped else None,
    }


def mixes(tables: LanceTables, recipes: TableRef, instruction_ids: Iterable[str]) -> list[dict[str, Any]]:
    """The recipes that have one of these instructions as a parent, with the share that it has."""
    ids = sorted(set(instruction_ids))
    wanted = f"{id_filter('parent_a', ids)} OR {id_filter('parent_b', ids)}"
    columns = ["recipe_id", "parent_a", "parent_b", "lambda"]
    found = []
    for row in tables.read(recipes, columns=columns, filter=wanted).to_pylist():
        first = row["parent_a"] in ids
        found.append(
            {
                "recipe_id": row["recipe_id"],
                "instruction_id": row["parent_a" if first else "parent_b"],
                "mixed_with": row["parent_b" if first else "parent_a"],
                "share": row["lambda"] if first else 1.0 - row["lambda"],
            }
        )
    return sorted(found, key=lambda row: row["recipe_id"])


def parents(tables: LanceTables, recipes: TableRef, recipe_id: str) -> list[dict[str, Any]]:
    """Both sides of one recipe, as `mixes` tells them; none where the table does not hold it."""
    columns = ["recipe_id", "parent_a", "parent_b", "lambda"]
    found = tables.read(recipes, columns=columns, filter=id_filter("recipe_id", [recipe_id])).to_pylist()
    return [
        {"recipe_id": recipe_id, "instruction_id": one, "mixed_with": other, "share": share}
        for row in found
        for one, other, share in (
            (row["parent_a"], row["parent_b"], row["lambda"]),
            (row["parent_b"], row["parent_a"], 1.0 - row["lambda"]),
        )
    ]


def choices(tables: LanceTables, row_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Every slot of every curriculum that holds one of these rows, in order of curriculum, step and slot."""
    ref = tables.head(CURRICULUM.table)
    if ref is None:
        return []
    columns = [name for name in CURRICULUM.schema.names if name != "entry_id"]
    rows = tables.read(ref, columns=columns, filter=id_filter("row_id", sorted(set(row_ids)))).to_pylist()
    return sorted(rows, key=lambda row: (row["curriculum_id"], row["step"], row["slot"]))

"""Erasure: what a retraction removes besides, from which rows of which tables, and the record of it.

Ids, decisions, origins and stored hashes of rows stay; text, its words in indices, vectors and states go. What was
erased is recorded row by row before it is erased, so that whoever verifies a table knows which rows no longer hold
what was hashed.
"""

import getpass
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from assets.identity import ID_LENGTH, digest, rows_digest
from assets.instructions.retractions import Standing
from assets.records import ERASURES, INSTRUCTIONS, QUARANTINE, RAW_INSTRUCTIONS
from resources.lance_erasure import stored_rows
from resources.private import KINDS
from resources.table_erasure import erase_content
from resources.table_refs import Provenance, TableRef
from resources.table_verification import Erasure
from resources.tables import LanceTables
from resources.text import escape_terminal, sql_quote

CONTENT: Mapping[str, tuple[str, ...]] = {
    RAW_INSTRUCTIONS.table: ("messages", "raw_text", "problem_detail"),
    INSTRUCTIONS.table: ("messages",),
    QUARANTINE.table: ("detail", "raw_text"),
}
"""Tables that hold text of rows, and the columns it stands in."""

VECTORS: Mapping[str, tuple[str, str]] = {
    "instruction_embeddings_": ("instruction_id", "vector"),
    "auxiliary_features_": ("feature_id", "hidden"),
}
"""The beginnings of the names of tables that hold numbers made of the text: key and column."""

WHERE = ("origin_id", "instruction_id", "source", "file", "position", "licence")


@dataclass
class Found:
    """What is to be erased: keys by table, the instructions, and every text of theirs that is still there."""

    keys: dict[str, set[str]] = field(default_factory=dict)
    instructions: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    conversations: list[list[dict[str, str]]] = field(default_factory=list)

    def to_json(self) -> dict[str, int]:
        """Rows by table."""
        return {table: len(keys) for table, keys in sorted(self.keys.items()) if keys}


def find(tables: LanceTables, newest: TableRef | None, alone: Standing, stands: Standing) -> Found:
    """What the retraction in `alone` removes, given all that stand; `newest` are the raw rows of today.

    Every version is looked through. A text that still stands in a place which is not retracted stays in
    `instructions` and its vectors stay, but not in the retracted place.
    """
    found = Found()
    raw = tables.path(RAW_INSTRUCTIONS.table)
    names: set[str] = set()
    origins: set[str] = set()
    for row in _rows(raw, WHERE):
        if alone.of_origin(row["instruction_id"], row):
            origins.add(row["origin_id"])
            names.add(row["instruction_id"] or "")
    allowed: set[str] = set()
    for batch in tables.batches(newest, columns=list(WHERE)) if newest else ():
        for row in batch.to_pylist():
            if row["instruction_id"] in names and not stands.of_origin(row["instruction_id"], row):
                allowed.add(row["instruction_id"])
    found.instructions = names - allowed - {""}
    found.keys[RAW_INSTRUCTIONS.table] = origins
    for row in _rows(raw, ("origin_id", "instruction_id", "messages", "raw_text", "problem_detail")):
        if row["origin_id"] in origins and row["instruction_id"] not in allowed:
            found.conversations.append(row["messages"] or [])
            found.texts |= {row["raw_text"] or "", row["problem_detail"] or ""}
    for row in _rows(tables.path(INSTRUCTIONS.table), ("instruction_id", "messages")):
        if row["instruction_id"] in found.instructions:
            found.keys.setdefault(INSTRUCTIONS.table, set()).add(row["instruction_id"])
            found.conversations.append(row["messages"])
    for row in _rows(tables.path(QUARANTINE.table), ("origin_id", "raw_text", "detail")):
        if row["origin_id"] in origins:
            found.keys.setdefault(QUARANTINE.table, set()).add(row["origin_id"])
            found.texts |= {row["raw_text"], row["detail"]}
    for table in tables.commits.tables():
        for start, (key, _) in VECTORS.items():
            if table.startswith(start):
                found.keys[table] = {
                    row[key]
                    for row in _rows(tables.path(table), dict.fromkeys((key, "instruction_id")))
                    if row["instruction_id"] in found.instructions
                }
    found.texts |= {turn["content"] for turns in found.conversations for turn in turns}
    found.texts.discard("")
    return found


def columns_of(table: str) -> tuple[str, tuple[str, ...]]:
    """The key of a table that holds content, and the columns of the content."""
    if table in CONTENT:
        return (INSTRUCTIONS.key if table == INSTRUCTIONS.table else RAW_INSTRUCTIONS.key), CONTENT[table]
    key, column = next(value for start, value in VECTORS.items() if table.startswith(start))
    return key, (column,)


def record(tables: LanceTables, found: Found, retraction_id: str) -> int:
    """Puts on the record which rows are erased, before they are; the number of rows that were not on it."""
    known = {(row["table_name"], row["row_id"]) for row in _recorded(tables)}
    now = datetime.now(UTC)
    rows = [
        {
            "erasure_id": digest([table, key])[:ID_LENGTH],
            "retraction_id": retraction_id,
            "table_name": table,
            "row_id": key,
            "columns": list(columns_of(table)[1]),
            "erased_by": getpass.getuser(),
            "erased_at": now,
        }
        for table, keys in sorted(found.keys.items())
        for key in sorted(keys)
        if (table, key) not in known
    ]
    if rows:
        content = rows_digest([{**row, "erased_at": now.isoformat()} for row in rows])
        tables.write(
            ERASURES,
            pa.Table.from_pylist(rows, schema=ERASURES.schema),
            mode="upsert",
            provenance=Provenance(f"erasure {now.isoformat()}", "erasure", content[:32]),
        )
    return len(rows)


def erase(tables: LanceTables, found: Found) -> dict[str, int]:
    """Empties the content in every version of every table; stored rows by table. The raw rows come last."""
    order = sorted(found.keys, key=lambda table: (table == RAW_INSTRUCTIONS.table, table))
    erased = {}
    for table in order:
        if found.keys[table]:
            key, columns = columns_of(table)
            erased[table] = erase_content(tables, table, key, found.keys[table], columns)
    return erased


def erased_rows(tables: LanceTables, table: str) -> set[str]:
    """The keys of the rows of a table whose content was erased; none where nothing ever was."""
    return {row["row_id"] for row in _recorded(tables, f"table_name = {sql_quote(table)}")}


def erasure_of(tables: LanceTables, table: str) -> Erasure | None:
    """What is on record as erased from a table, for its verification; None where nothing is."""
    keys = erased_rows(tables, table)
    return Erasure(frozenset(keys), columns_of(table)[1]) if keys else None


def emptied(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of RAW_INSTRUCTIONS as it is stored where its content is erased."""
    messages = row["messages"]
    return {
        **row,
        "messages": None if messages is None else [{**turn, "content": ""} for turn in messages],
        "problem_detail": "" if row["problem_detail"] is not None else None,
        "raw_text": "" if row["raw_text"] is not None else None,
    }


def shown_forms(found: Found, cell: Any) -> set[str]:
    """The texts as previews, traces and logs show them: cut, escaped, joined, masked. `cell` is `presentation.cell`."""
    forms = set()
    for turns in found.conversations:
        if turns:
            forms |= {str(cell(turns)), str(cell(turns, masked=False))}
            forms.add(" ".join(turn["content"] for turn in turns)[:300])
    for text in found.texts:
        forms |= {text, escape_terminal(text), str(cell(text)), str(cell(text, masked=False))}
    return forms - {f"[{kind}]" for kind in KINDS} - {""}


def _recorded(tables: LanceTables, filter: str | None = None) -> Iterable[dict[str, Any]]:
    ref = tables.head(ERASURES.table)
    found: list[dict[str, Any]] = tables.read(ref, filter=filter).to_pylist() if ref else []
    return found


def _rows(folder: Any, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    for batch in stored_rows(folder, list(columns)):
        yield from batch.to_pylist()

"""Writes of Lance tables by the one door, drawn from a seed, and a model of what must be there after each.

A journal beside the store has a line before each write and one after it; whoever comes next reads it, compares the
store with the model, ends the write that was under way, and goes on.
"""

import datetime
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from assets.records import Record
from resources import table_indices
from resources.table_cleanup import no_writer, plan, remove
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables, Mode

Rows = dict[str, int]
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("v", pa.int64(), nullable=False),
        pa.field("text", pa.string()),
    ]
)
RECORDS = {
    "plain": Record("plain", "id", SCHEMA),
    "indexed": Record("indexed", "id", SCHEMA, ("id",), ("text",)),
}
MODES: tuple[Mode, ...] = ("append", "upsert", "upsert", "overwrite")
FEWEST_INDEXED = 8
OLDER = 6
"""Versions that one comparison reads: so many of the newest, and of the others."""


@dataclass(frozen=True)
class Work:
    """One write; `table` is empty for a clean-up of every table."""

    number: int
    table: str
    mode: Mode
    rows: Rows

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return f"work-{self.number}"


def drawn(seed: int, number: int) -> Work:
    """The write of this number."""
    draw = random.Random(f"{seed}:{number}")
    table, mode = draw.choice(sorted(RECORDS)), draw.choice(MODES)
    if number % 12 == 11:
        return Work(number, "", mode, {})
    ids = [f"{number}-{place}" for place in range(draw.randint(1, 12))]
    if mode == "upsert":
        ids += [f"{draw.randrange(number + 1)}-0" for _ in range(3)]
    return Work(number, table, mode, dict.fromkeys(ids, number))


def after(rows: Rows, work: Work) -> Rows:
    """The rows of the work's table once it is done."""
    return dict(work.rows) if work.mode == "overwrite" else {**rows, **work.rows}


def do(tables: LanceTables, work: Work) -> TableRef | None:
    """Do it by the one door."""
    table_indices.LEAST_ROWS = FEWEST_INDEXED
    if not work.table:
        now = datetime.datetime.now(datetime.UTC)
        with no_writer(tables) as names:
            for name in names:
                if tables.head(name) is not None:
                    remove(tables, plan(tables, name, {}, now), "run", "for a test")
        return None
    rows = pa.table(
        {
            "id": list(work.rows),
            "v": list(work.rows.values()),
            "text": [f"words of {one}" for one in work.rows],
        },
        schema=SCHEMA,
    )
    return tables.write(
        RECORDS[work.table], rows, mode=work.mode, provenance=Provenance("run", work.table, work.key)
    )


def stored(tables: LanceTables, ref: TableRef) -> Rows:
    """The rows of a version. Raises AssertionError where a key is there twice."""
    found = tables.read(ref)
    ids = found["id"].to_pylist()
    assert len(ids) == len(set(ids)), f"{ref.table} version {ref.version} has a key twice"
    return dict(zip(ids, found["v"].to_pylist(), strict=True))


class Journal:
    """What was begun and what was acknowledged, written outside the store, one line each."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def say(self, what: str, number: int, ref: TableRef | None = None) -> None:
        """Add a line: whole, whenever the process is killed."""
        line = {"what": what, "number": number, "ref": ref.to_json() if ref else None}
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, json.dumps(line).encode() + b"\n")
        finally:
            os.close(handle)

    def read(self, most: int | None = None) -> tuple[dict[int, TableRef | None], int | None]:
        """What was acknowledged by number, among the first `most` bytes, and what was begun and was not."""
        text = self.path.read_bytes()[:most] if self.path.exists() else b""
        lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        done = {
            one["number"]: TableRef.from_json(one["ref"]) if one["ref"] else None
            for one in lines
            if one["what"] == "done"
        }
        begun = {one["number"] for one in lines} - done.keys()
        assert len(begun) <= 1
        return done, next(iter(begun), None)


def compare(
    root: Path, seed: int, done: dict[int, TableRef | None], begun: int | None, torn: bool = False
) -> list[str]:
    """How a store differs from the model, in words, and end the write that was under way; empty where all is as it
    must be. With `torn`, what nobody acknowledged may be unreadable until the next write."""
    tables = LanceTables(root)
    wrong: list[str] = []
    model: dict[str, Rows] = {}
    expected: dict[tuple[str, int], Rows] = {}
    for number, ref in sorted(done.items()):
        work = drawn(seed, number)
        if ref is not None:
            model[work.table] = after(model.get(work.table, {}), work)
            expected[work.table, ref.version] = model[work.table]
    under_way = drawn(seed, begun) if begun is not None else None
    if under_way is not None and under_way.table:
        written = tables.commits.by_idempotency_key(under_way.table, under_way.key)
        if written is not None:  # acknowledged by the store, though the writer had no time to say so
            rows = after(model.get(under_way.table, {}), under_way)
            model[under_way.table] = expected[under_way.table, written.version] = rows
    unstarted = {name for name in RECORDS if name not in model}
    for finding in tables.check():
        if finding.table not in unstarted and not (torn and "above the acknowledged" in finding.problem):
            wrong.append(f"{finding.table}: {finding.problem}")
    for number, ref in done.items():
        if ref is not None and ref not in tables.versions(ref.table):
            wrong.append(f"write {number}, acknowledged as {ref}, is not in the commit log")
    if wrong:
        return wrong
    for (table, version), rows in _some(expected, seed):
        refs = [ref for ref in tables.versions(table) if ref.version == version]
        if not tables.is_reclaimed(refs[-1]) and stored(tables, refs[-1]) != rows:
            wrong.append(f"{table} version {version} has other rows than were acknowledged")
    for table, rows in model.items():
        head = tables.head(table)
        if head is None or stored(tables, head) != rows:
            wrong.append(f"the newest version of {table} has other rows than the model")
    if under_way is not None and not wrong:
        ref = do(tables, under_way)
        if ref is not None:
            rows = after(model.get(under_way.table, {}), under_way) if written is None else model[ref.table]
            keys = [one.idempotency_key for one in tables.commits.history(ref.table)]
            if stored(tables, ref) != rows or tables.head(ref.table) != ref:
                wrong.append(f"write {begun}, done again, left other rows than the model")
            if keys.count(under_way.key) != 1:
                wrong.append(f"write {begun} was acknowledged {keys.count(under_way.key)} times")
    return wrong


def _some(expected: dict[tuple[str, int], Rows], seed: int) -> list[tuple[tuple[str, int], Rows]]:
    """The newest versions, and older ones drawn by chance: each comparison looks at others."""
    newest = list(expected.items())
    draw = random.Random(f"{seed}:{len(newest)}")
    return newest[-OLDER:] + draw.sample(newest[:-OLDER], min(OLDER, len(newest[:-OLDER])))


def write_each(root: Path, number: int) -> list[str]:
    """Write every table once more; what is wrong after that."""
    wrong = []
    tables = LanceTables(root)
    for name in RECORDS:
        head = tables.head(name)
        rows = stored(tables, head) if head is not None else {}
        work = Work(number, name, "upsert", {f"{number}-after": number})
        ref = do(tables, work)
        if ref is None or stored(tables, ref) != after(rows, work):
            wrong.append(f"the next write of {name} left other rows than the model")
    return wrong + [f"{one.table}: {one.problem}" for one in tables.check()]


def go_on(say: Callable[[str], None], root: Path, journal_file: Path, seed: int, most: int) -> None:
    """Compare, say "ready", and write until `most` writes are done. Raises AssertionError where something differs."""
    journal = Journal(journal_file)
    done, begun = journal.read()
    if wrong := compare(root, seed, done, begun):
        raise AssertionError("\n".join(wrong))
    if begun is not None:
        done[begun] = do(LanceTables(root), drawn(seed, begun))
        journal.say("done", begun, done[begun])
    say("ready")
    for number in range(max(done, default=-1) + 1, most):
        work = drawn(seed, number)
        journal.say("begun", number)
        journal.say("done", number, do(LanceTables(root), work))

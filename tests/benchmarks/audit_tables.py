"""Tables of a pool and a ledger for the benchmark of audits, written as a run writes them. Ids come from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.identity import ID_LENGTH, digest
from assets.records import (
    CURRICULUM,
    DROPPED_INSTRUCTIONS,
    INSTRUCTIONS,
    INTERPOLATED_INSTRUCTIONS,
    MESSAGE,
    ORIGIN,
    RAW_INSTRUCTIONS,
    SCORE,
    Record,
)
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

BATCH = 65_536
STEP_ROWS = 64
MIXES = 10
"""One row of the pool in so many is a mix."""

SOURCES, TASKS, TEXTS = 40, 200, 1000
SEVERAL_ORIGINS = 0.1
REPEATED = 0.25
"""Share of the ledger's slots that repeat a row that it has already."""

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_LICENCES = ("MIT", "CC-BY-4.0", None, "Apache-2.0")


@dataclass(frozen=True)
class World:
    """What was written: `pool` rows are instructions and mixes of them."""

    tables: LanceTables
    raw: TableRef
    instructions: TableRef
    edited: TableRef  # instructions, some of which are removed and some given another task
    dropped: TableRef
    recipes: TableRef
    curriculum: TableRef
    curriculum_id: str


def write_world(folder: Path, pool: int, ledger: int) -> World:
    """Tables of `pool` rows with a ledger of `ledger` slots, beside one of another curriculum a tenth as long."""
    tables = LanceTables(folder)
    mixes = pool // MIXES
    originals = pool - mixes

    def write(record: Record, batches: Iterator[pa.RecordBatch], mode: str = "overwrite") -> TableRef:
        name = digest([record.table, pool, ledger, mode])
        return tables.write(
            record,
            batches,
            mode="append" if mode == "append" else "overwrite",
            provenance=Provenance("bench", record.table, name[:32]),
        )

    raw = write(RAW_INSTRUCTIONS, _raw(originals))
    instructions = write(INSTRUCTIONS, instruction_batches(originals))
    edited = write(INSTRUCTIONS, _edited(instruction_batches(originals)), "overwrite again")
    dropped = write(DROPPED_INSTRUCTIONS, iter([_nothing(DROPPED_INSTRUCTIONS)]))
    recipes = write(INTERPOLATED_INSTRUCTIONS, recipe_batches(mixes, originals))
    identity = digest(["ledger", pool, ledger])[:ID_LENGTH]
    write(CURRICULUM, _ledger(digest("another")[:ID_LENGTH], max(ledger // 10, STEP_ROWS), originals, mixes))
    curriculum = write(CURRICULUM, _ledger(identity, ledger, originals, mixes), "append")
    return World(tables, raw, instructions, edited, dropped, recipes, curriculum, identity)


def ids(kind: str, places: npt.NDArray[np.int64]) -> pa.StringArray:
    """The ids of rows by their places in the pool: 32 hexadecimal digits each, mixed from place and kind."""
    words = [_mixed(places.astype(np.uint64), int(digest([kind, word])[:15], 16)) for word in (0, 1)]
    bytes_of = np.stack(words, axis=1).view(np.uint8).reshape(len(places), 16)
    text = np.empty((len(places), ID_LENGTH), np.uint8)
    text[:, ::2], text[:, 1::2] = _HEX[bytes_of >> 4], _HEX[bytes_of & 15]
    offsets = np.arange(0, ID_LENGTH * (len(places) + 1), ID_LENGTH, dtype=np.int32)
    return pa.StringArray.from_buffers(len(places), pa.py_buffer(offsets), pa.py_buffer(text))


def _mixed(numbers: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """SplitMix64: different numbers give different words that look drawn."""
    word = (numbers + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def _blocks(rows: int, kind: int) -> Iterator[tuple[npt.NDArray[np.int64], np.random.Generator]]:
    for start in range(0, rows, BATCH):
        yield np.arange(start, min(start + BATCH, rows)), np.random.default_rng([kind, start])


def _named(pattern: str, count: int) -> pa.Array:
    return pa.array([pattern.format(number) for number in range(count)])


def _sources(draw: np.random.Generator, rows: int) -> dict[str, pa.Array]:
    source = pa.array(draw.integers(0, SOURCES, rows))
    licences = pa.array([_LICENCES[number % len(_LICENCES)] for number in range(SOURCES)])
    return {
        "source": _named("source-{}", SOURCES).take(source),
        "file": _named("data/part-{}.jsonl", SOURCES).take(source),
        "file_sha256": _named("{:064x}", SOURCES).take(source),
        "licence": licences.take(source),
    }


def _messages(draw: np.random.Generator, rows: int) -> pa.Array:
    texts = _named("Say in your own words what number {} means to you, and why it does.", TEXTS)
    content = texts.take(pa.array(draw.integers(0, TEXTS, 2 * rows)))
    roles = pa.array(["user", "assistant"]).take(pa.array(np.tile([0, 1], rows)))
    turns = pa.StructArray.from_arrays([roles, content], fields=list(MESSAGE))
    return pa.ListArray.from_arrays(np.arange(0, 2 * rows + 1, 2, dtype=np.int32), turns)


def _tasks(draw: np.random.Generator, rows: int) -> pa.Array:
    return _named("task {}", TASKS).take(pa.array(draw.integers(0, TASKS, rows)))


def _raw(rows: int) -> Iterator[pa.RecordBatch]:
    for places, draw in _blocks(rows, 1):
        count = len(places)
        columns = {
            "origin_id": ids("origin", places),
            "instruction_id": ids("row", places),
            "position": pa.array(places + 1),
            "task": _tasks(draw, count),
            "messages": _messages(draw, count),
            **_sources(draw, count),
        }
        yield _batch(RAW_INSTRUCTIONS, columns, count)


def instruction_batches(rows: int) -> Iterator[pa.RecordBatch]:
    for places, draw in _blocks(rows, 2):
        count = len(places)
        lengths = 1 + (draw.random(count) < SEVERAL_ORIGINS)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        found = _sources(draw, int(offsets[-1])) | {
            "origin_id": ids("origin", rows * 2 + np.arange(offsets[-1]) + 2 * places[0]),
            "position": pa.array(draw.integers(1, rows + 1, int(offsets[-1]))),
        }
        origins = pa.StructArray.from_arrays([found[one.name] for one in ORIGIN], fields=list(ORIGIN))
        columns = {
            "instruction_id": ids("row", places),
            "task": _tasks(draw, count),
            "messages": _messages(draw, count),
            "origins": pa.ListArray.from_arrays(offsets, origins),
            "scores": pa.nulls(count, pa.list_(SCORE)),
        }
        yield _batch(INSTRUCTIONS, columns, count)


def _edited(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Half of the first batch is removed, the other half has another task."""
    first = next(batches)
    kept = first.slice(first.num_rows // 2)
    task = INSTRUCTIONS.schema.get_field_index("task")
    yield kept.set_column(task, INSTRUCTIONS.schema.field(task), pa.array(["edited"] * kept.num_rows))
    yield from batches


def recipe_batches(rows: int, originals: int) -> Iterator[pa.RecordBatch]:
    for places, draw in _blocks(rows, 3):
        count = len(places)
        columns = {
            "recipe_id": ids("mix", places),
            "parent_a": ids("row", draw.integers(0, originals, count)),
            "parent_b": ids("row", draw.integers(0, originals, count)),
            "lambda": pa.array(draw.beta(0.4, 0.4, count)),
            "seed": pa.array(np.zeros(count, np.int64)),
            "layer": pa.array(np.zeros(count, np.int32)),
            "alignment": pa.array(["response_border"] * count),
            "task_a": _tasks(draw, count),
            "task_b": _tasks(draw, count),
        }
        yield _batch(INTERPOLATED_INSTRUCTIONS, columns, count)


def _ledger(identity: str, rows: int, originals: int, mixes: int) -> Iterator[pa.RecordBatch]:
    """Slots of STEP_ROWS a step; the last step is left out where it would not be full."""
    rows = rows // STEP_ROWS * STEP_ROWS
    draw = np.random.default_rng([4, rows])
    fresh = draw.integers(0, originals + mixes, rows)
    again = draw.random(rows) < REPEATED
    chosen = np.where(again, fresh[draw.integers(0, rows, rows)], fresh)
    for places, _ in _blocks(rows, 4):
        row, count = chosen[places], len(places)
        mixed = pa.array(row >= originals)
        step, slot = places // STEP_ROWS, places % STEP_ROWS
        entry = [f"{identity}:{one}:{two}" for one, two in zip(step.tolist(), slot.tolist(), strict=True)]
        score = draw.standard_normal(count)
        columns = {
            "entry_id": pa.array(entry),
            "curriculum_id": pa.array([identity] * count),
            "strategy": pa.array(["raise"] * count),
            "seed": pa.array(np.zeros(count, np.int64)),
            "step": pa.array(step, pa.int32()),
            "slot": pa.array(slot, pa.int32()),
            "row_id": pa.chunked_array([ids("row", row), ids("mix", row - originals)])
            .take(pa.array(np.arange(count) + count * (row >= originals)))
            .combine_chunks(),
            "kind": pa.array(["original", "interpolated"]).take(mixed.cast(pa.int8())),
            "cluster": pa.array(row % 256, pa.int32()),
            "score": pa.array(score),
            "weight": pa.array(draw.choice([1.0, 0.5], count)),
            "reason": pa.array(
                [
                    f"number {one % 16 + 1} of its cluster by the score {two:.4f}"
                    for one, two in zip(slot, score, strict=True)
                ]
            ),
            "policy_sha256": pa.array([digest("policy")] * count),
        }
        yield _batch(CURRICULUM, columns, count)


def _batch(record: Record, columns: dict[str, pa.Array], rows: int) -> pa.RecordBatch:
    arrays = [columns.get(one.name, pa.nulls(rows, one.type)) for one in record.schema]
    return pa.RecordBatch.from_arrays(
        [
            array if array.type == one.type else array.cast(one.type)
            for array, one in zip(arrays, record.schema, strict=True)
        ],
        schema=record.schema,
    )


def _nothing(record: Record) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=record.schema)

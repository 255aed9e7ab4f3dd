"""The hash of a row against the encoding written out by hand, value by value."""

import hashlib
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from assets.records import INSTRUCTIONS, PROMOTIONS, embeddings_record
from resources.row_hashes import hash_rows


def encoded(value: Any, kind: pa.DataType) -> bytes:
    if value is None:
        return b"\0"
    if pa.types.is_boolean(kind):
        content = bytes([value])
    elif pa.types.is_timestamp(kind):
        content = round(value.timestamp() * 1_000_000).to_bytes(8, "little", signed=True)
    elif pa.types.is_integer(kind):
        content = value.to_bytes(kind.bit_width // 8, "little", signed=True)
    elif pa.types.is_floating(kind):
        content = struct.pack("<d" if kind.bit_width == 64 else "<f", value)
    elif pa.types.is_string(kind):
        content = struct.pack("<i", len(value.encode())) + value.encode()
    elif pa.types.is_fixed_size_list(kind):
        content = b"".join(struct.pack("<f", one) for one in value)
    elif pa.types.is_list(kind):
        content = struct.pack("<i", len(value)) + b"".join(encoded(one, kind.value_type) for one in value)
    else:
        content = b"".join(encoded(value[field.name], field.type) for field in kind)
    return b"\1" + content


def by_hand(rows: list[dict[str, Any]], schema: pa.Schema) -> list[bytes]:
    return [
        hashlib.sha256(b"".join(encoded(row[field.name], field.type) for field in schema)).digest()
        for row in rows
    ]


def instruction(place: int, generator: np.random.Generator) -> dict[str, Any]:
    def text() -> str:
        return "é" * int(generator.integers(3)) + "x" * int(generator.integers(40))

    origin = {"origin_id": text(), "source": "s", "file": text(), "file_sha256": "f", "position": place}
    return {
        "instruction_id": f"{place:032x}",
        "task": [None, "", "task"][place % 3],
        "messages": [{"role": "user", "content": text()} for _ in range(generator.integers(4))],
        "origins": [origin | {"licence": [None, "MIT"][one]} for one in range(generator.integers(3))],
        "scores": [None, [], [{"name": "quality", "value": generator.random()}]][place % 3],
    }


def test_rows_have_the_hash_of_their_values_however_arrow_holds_them() -> None:
    generator = np.random.default_rng(0)
    rows = [instruction(place, generator) for place in range(5000)]
    batch = pa.RecordBatch.from_pylist(rows, schema=INSTRUCTIONS.schema)
    names = INSTRUCTIONS.schema.names
    expected = by_hand(rows, INSTRUCTIONS.schema)
    assert hash_rows(batch, names).to_pylist() == expected
    assert hash_rows(batch.slice(4090, 77), names).to_pylist() == expected[4090:4167]
    shuffled = batch.take(pa.array([4, 2, 4999]))
    assert hash_rows(shuffled, names).to_pylist() == [expected[4], expected[2], expected[4999]]
    assert len(hash_rows(batch.slice(0, 0), names)) == 0


def test_vectors_truth_values_and_times_have_their_hash() -> None:
    record = embeddings_record("ab" * 32, 3)
    vectors = [{"instruction_id": f"{n}", "vector": [n / 3, -0.0, float(n)]} for n in range(9)]
    vectors = [row | {"vector": [float(np.float32(x)) for x in row["vector"]]} for row in vectors]
    batch = pa.RecordBatch.from_pylist(vectors, schema=record.schema)
    assert (
        hash_rows(batch.slice(2, 5), record.schema.names).to_pylist() == by_hand(vectors, record.schema)[2:7]
    )
    decision = {
        "promotion_id": "p",
        "model": "m",
        "sequence": 1,
        "action": "promote",
        "version": None,
        "previous_version": 3,
        "forced": True,
        "reason": None,
        "rule": "{}",
        "evidence": "[]",
        "decided_by": "somebody",
        "decided_at": datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
    }
    batch = pa.RecordBatch.from_pylist([decision], schema=PROMOTIONS.schema)
    assert hash_rows(batch, PROMOTIONS.schema.names).to_pylist() == by_hand([decision], PROMOTIONS.schema)


def test_what_hides_behind_a_null_does_not_count() -> None:
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, 3, 4, 5]), mask=pa.array([False, True, False])
    )
    structs = pa.StructArray.from_arrays([lists], names=["l"], mask=pa.array([False, False, True]))
    plain = pa.array([{"l": [1, 2]}, {"l": None}, None], structs.type)
    found = [hash_rows(pa.RecordBatch.from_arrays([one], names=["s"]), ["s"]) for one in (structs, plain)]
    assert found[0].equals(found[1]) and len(set(found[0].to_pylist())) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "xy", "b": "z"}, {"a": "x", "b": "yz"}),
        ({"a": "", "b": None}, {"a": None, "b": ""}),
        ({"a": "\0", "b": ""}, {"a": "", "b": "\0"}),
    ],
)
def test_different_rows_have_different_hashes(one: dict[str, Any], other: dict[str, Any]) -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.string())])
    batch = pa.RecordBatch.from_pylist([one, other], schema=schema)
    first, second = hash_rows(batch, ["a", "b"]).to_pylist()
    assert first != second

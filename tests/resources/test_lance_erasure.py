"""Content leaves every version of a table at once, and nothing else of it changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from assets.records import INSTRUCTIONS, RAW_INSTRUCTIONS, embeddings_record
from resources.errors import SultanaError
from resources.lance_erasure import data_files, erase_rows, stored_rows
from resources.table_erasure import erase_content
from resources.table_refs import Provenance, Record, TableRef
from resources.table_verification import Erasure, verify_version
from resources.tables import LanceTables

SECRET = "The zebra of Quimperlé eats blue marzipan at midnight."


def write(tables: LanceTables, record: Record, rows: list[dict[str, Any]], mode: Any, name: str) -> TableRef:
    columns = [row | dict.fromkeys(set(record.schema.names) - row.keys()) for row in rows]
    made = pa.Table.from_pylist(columns, schema=record.schema)
    return tables.write(record, made, mode=mode, provenance=Provenance("run", "a", name))


def instruction(number: int, text: str = "") -> dict[str, Any]:
    return {
        "instruction_id": f"{number:032x}",
        "messages": [
            {"role": "user", "content": text or f"Say {number}."},
            {"role": "assistant", "content": "ok " * number},
        ],
        "origins": [],
    }


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_text_leaves_all_versions_and_everything_else_stays(tmp_path: Path, count: int) -> None:
    tables = LanceTables(tmp_path / "lance")
    first = [instruction(number, SECRET if number == 0 else "") for number in range(count)]
    refs = [
        write(tables, INSTRUCTIONS, first, "overwrite", "a"),
        write(tables, INSTRUCTIONS, [*first[:5], instruction(9999)], "overwrite", "b"),
        write(tables, INSTRUCTIONS, [instruction(9998), first[0]], "upsert", "c"),
    ]
    before = [tables.read(ref).to_pylist() for ref in refs]
    # A handle opened before, with whatever it keeps in memory, is not asked again: readers open a fresh one.
    assert erase_content(tables, "instructions", "instruction_id", {f"{0:032x}"}, ["messages"]) >= 2
    for ref, rows in zip(refs, before, strict=True):
        expected = [
            {**row, "messages": [{**turn, "content": ""} for turn in row["messages"]]}
            if row["instruction_id"] == f"{0:032x}"
            else row
            for row in rows
        ]
        assert tables.read(ref).to_pylist() == expected
        assert tables.read(ref, filter=f"instruction_id = '{0:032x}'").num_rows == 1
        assert [row for batch in tables.batches(ref, batch_size=3) for row in batch.to_pylist()] == expected
        assert tables.open(ref).take([0]).num_rows == 1
    assert tables.check() == []
    for ref in refs:
        assert (
            verify_version(tables, ref, erasure=Erasure(frozenset({f"{0:032x}"}), ("messages",))).problems
            == []
        )
        # Without the record it is a changed row, and the record excuses only what is empty.
        for excuse in (None, Erasure(frozenset({f"{0:032x}"}), ("messages", "instruction_id"))):
            (told,) = verify_version(tables, ref, erasure=excuse).problems
            assert f"{0:032x}" in told.problem
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    # The table goes on: an upsert and an append of what comes next.
    again = write(tables, INSTRUCTIONS, [instruction(9997), instruction(0, "Another.")], "upsert", "d")
    assert tables.read(again, filter=f"instruction_id = '{0:032x}'").to_pylist()[0]["messages"][0][
        "content"
    ] == ("Another.")


def test_vectors_become_zero_and_null_stays_null(tmp_path: Path) -> None:
    tables = LanceTables(tmp_path / "lance")
    record = embeddings_record("a" * 12, 16)
    vectors = np.random.default_rng(0).random((6, 16)).astype(np.float32)
    rows = [{"instruction_id": f"{n:032x}", "vector": vectors[n].tolist()} for n in range(6)]
    ref = write(tables, record, rows, "overwrite", "a")
    erase_content(tables, record.table, "instruction_id", {f"{4:032x}"}, ["vector"])
    found = np.stack(tables.read(ref)["vector"].to_numpy(zero_copy_only=False))
    assert not found[4].any() and np.array_equal(np.delete(found, 4, 0), np.delete(vectors, 4, 0))

    raw = {
        "origin_id": "1",
        "source": "s",
        "file": "f",
        "file_sha256": "x",
        "position": 1,
        "raw_text": SECRET,
    }
    unread = write(tables, RAW_INSTRUCTIONS, [raw, {**raw, "origin_id": "2"}], "overwrite", "a")
    erase_content(tables, "raw_instructions", "origin_id", {"1"}, ["messages", "raw_text"])
    assert [(row["messages"], row["raw_text"]) for row in tables.read(unread).to_pylist()] == [
        (None, ""),
        (None, SECRET),
    ]
    assert [
        row["origin_id"]
        for batch in stored_rows(tables.path("raw_instructions"), ["origin_id"])
        for row in batch.to_pylist()
    ] == ["1", "2"]


def test_what_was_changed_before_is_not_hidden_by_an_erasure(tmp_path: Path) -> None:
    tables = LanceTables(tmp_path / "lance")
    ref = write(tables, INSTRUCTIONS, [instruction(number) for number in range(9)], "overwrite", "a")
    (file,) = data_files(tables.path("instructions"))
    content = bytearray(file.read_bytes())
    content[len(content) // 4] ^= 1
    whole = file.read_bytes()
    file.write_bytes(content)
    with pytest.raises((SultanaError, ValueError, OSError)):
        erase_content(tables, "instructions", "instruction_id", {f"{1:032x}"}, ["messages"])
    assert file.read_bytes() == bytes(content) and verify_version(tables, ref).problems
    file.write_bytes(whole)
    assert erase_content(tables, "instructions", "instruction_id", {f"{1:032x}"}, ["messages"]) == 1
    assert (
        verify_version(tables, ref, erasure=Erasure(frozenset({f"{1:032x}"}), ("messages",))).problems == []
    )


def test_a_file_in_which_rows_cannot_be_told_apart_is_left_as_it_is(tmp_path: Path) -> None:
    tables = LanceTables(tmp_path / "lance")
    write(tables, INSTRUCTIONS, [instruction(1)], "overwrite", "a")
    (file,) = data_files(tables.path("instructions"))
    before = file.read_bytes()
    with pytest.raises(SultanaError, match="without origin_id"):
        erase_rows(tables.path("instructions"), "origin_id", {"x"}, ["messages"])
    assert file.read_bytes() == before

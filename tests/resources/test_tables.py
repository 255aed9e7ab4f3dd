import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from assets.records import INSTRUCTIONS, Record, embeddings_record
from resources import staging
from resources.errors import SultanaError
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

ROOT = Path(__file__).parents[2]
NUMBERS = Record(
    "numbers", "id", pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
)


def numbers(*ids: str, value: int = 0) -> pa.Table:
    return pa.table({"id": list(ids), "v": [value] * len(ids)}, schema=NUMBERS.schema)


def by(key: str) -> Provenance:
    return Provenance("run-1", "numbers", key)


def put(tables: LanceTables, key: str, mode: str, rows: pa.Table, **more: object) -> TableRef:
    return tables.write(NUMBERS, rows, mode=mode, provenance=by(key), **more)  # type: ignore[arg-type]


def content(tables: LanceTables, ref: TableRef) -> dict[str, int]:
    rows = tables.read(ref)
    assert rows.num_rows == len(set(rows["id"].to_pylist()))
    return dict(zip(rows["id"].to_pylist(), rows["v"].to_pylist(), strict=True))


@pytest.fixture
def tables(tmp_path: Path) -> LanceTables:
    return LanceTables(tmp_path / "store")


def test_every_version_stays_readable(tables: LanceTables) -> None:
    first = put(tables, "1", "overwrite", numbers("a", "b"))
    second = put(tables, "2", "append", numbers("c"))
    third = put(tables, "3", "upsert", numbers("c", "d", value=1))
    fourth = put(tables, "4", "overwrite", numbers("z"))
    assert content(tables, first) == {"a": 0, "b": 0}
    assert content(tables, second) == {"a": 0, "b": 0, "c": 0}
    assert content(tables, third) == {"a": 0, "b": 0, "c": 1, "d": 1}
    assert content(tables, fourth) == {"z": 0}
    assert tables.head("numbers") == fourth and tables.head("other") is None
    assert tables.versions("numbers") == [first, second, third, fourth]
    assert [ref.rows for ref in tables.versions("numbers")] == [2, 3, 4, 1]
    assert TableRef.from_json(third.to_json()) == third
    assert tables.check() == []


@pytest.mark.parametrize("mode", ["overwrite", "append", "upsert"])
def test_an_empty_first_version(tables: LanceTables, mode: str) -> None:
    ref = put(tables, "1", mode, numbers())
    assert content(tables, ref) == {} and ref.rows == 0
    assert content(tables, put(tables, "2", mode, numbers("a"))) == {"a": 0}
    assert content(tables, put(tables, "3", mode, numbers())) == ({} if mode == "overwrite" else {"a": 0})


def test_nested_and_vector_columns(tables: LanceTables) -> None:
    origin = {
        "origin_id": "o",
        "source": "s",
        "file": "f",
        "file_sha256": "h",
        "position": 1,
        "licence": None,
    }
    turns = [{"role": "user", "content": "é\n'"}, {"role": "assistant", "content": "b"}]
    rows = [{"instruction_id": "i", "task": None, "messages": turns, "origins": [origin], "scores": None}]
    provenance = Provenance("r", "raw/instructions", "k")
    table = pa.Table.from_pylist(rows, schema=INSTRUCTIONS.schema)
    ref = tables.write(INSTRUCTIONS, table, mode="overwrite", provenance=provenance)
    assert tables.read(ref).to_pylist() == rows
    assert ref.tag == f"raw-instructions-{ref.digest[:12]}"
    record = embeddings_record("f" * 64, 2)
    vectors = pa.Table.from_pylist([{"instruction_id": "i", "vector": [1.0, 2.0]}], schema=record.schema)
    for key in ("k1", "k2"):
        ref = tables.write(record, vectors, mode="upsert", provenance=Provenance("r", "e", key))
    assert tables.read(ref).to_pylist() == [{"instruction_id": "i", "vector": [1.0, 2.0]}]


def test_a_commit_says_who_made_it_and_the_tag_protects_it(tables: LanceTables) -> None:
    import datetime

    first = put(tables, "1", "overwrite", numbers("a"), metadata={"embedder": "minilm"})
    second = put(tables, "2", "append", numbers("b"), metadata={"embedder": "other"})
    dataset = tables.open(second)
    assert dataset.schema.metadata == {b"embedder": b"other"}
    assert tables.open(first).schema.metadata == {b"embedder": b"minilm"}
    stored = dataset.read_transaction(second.version).transaction_properties
    assert stored["sultana.run_id"] == "run-1" and stored["sultana.idempotency_key"] == "2"
    assert stored["sultana.asset_key"] == "numbers" and stored["sultana.digest"] == second.digest
    dataset.cleanup_old_versions(datetime.timedelta(0), error_if_tagged_old_versions=False)
    assert content(tables, first) == {"a": 0}


def test_the_same_content_later_gets_its_own_tag(tables: LanceTables) -> None:
    one = tables.write(NUMBERS, numbers("a"), mode="overwrite", provenance=by("1"))
    two = tables.write(NUMBERS, numbers("a"), mode="overwrite", provenance=by("2"))
    assert (one.tag, two.tag) == (f"numbers-{one.digest[:12]}", f"numbers-{one.digest[:12]}-v2")
    assert tables.open(two).tags.get_version(one.tag) == 1


def test_a_repeated_write_returns_the_version_and_reads_no_row(tables: LanceTables) -> None:
    ref = put(tables, "1", "append", numbers("a"))
    put(tables, "2", "append", numbers("b"))

    def unread() -> Iterator[pa.RecordBatch]:
        raise AssertionError("read")
        yield

    assert tables.write(NUMBERS, unread(), mode="append", provenance=by("1")) == ref
    assert len(tables.versions("numbers")) == 2


@pytest.mark.parametrize(
    ("mode", "ids"), [("overwrite", "xx"), ("append", "xx"), ("append", "ax"), ("upsert", "xx")]
)
def test_a_repeated_key_is_refused(tables: LanceTables, mode: str, ids: str) -> None:
    before = put(tables, "1", "overwrite", numbers("a"))
    with pytest.raises(SultanaError, match=f'values of id occur more than once .* "{ids[0]}" 2 times'):
        put(tables, "2", mode, numbers(*ids))
    assert tables.head("numbers") == before and content(tables, before) == {"a": 0}
    assert len(os.listdir(tables.path("numbers") / "data")) == 1
    assert content(tables, put(tables, "3", "append", numbers("b"))) == {"a": 0, "b": 0}


def test_rows_that_do_not_fit_the_record_are_refused(tables: LanceTables) -> None:
    bad = {
        "missing": pa.table({"id": ["a"]}),
        "unknown": pa.table({"id": ["a"], "v": [1], "w": [1]}),
        "expects int64": pa.table({"id": ["a"], "v": ["x"]}),
        "empty values": pa.table({"id": pa.array([None], pa.string()), "v": [1]}),
    }
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    bad["UTF8"] = pa.table({"id": broken, "v": pa.array([1])})
    for problem, rows in bad.items():
        with pytest.raises(SultanaError, match=problem):
            put(tables, problem, "overwrite", rows)
    turn = pa.array([[{"role": None, "content": "x"}]], INSTRUCTIONS.schema.field("messages").type)
    columns = {"instruction_id": ["i"], "task": ["t"], "messages": turn}
    columns["origins"] = pa.array([[]], INSTRUCTIONS.schema.field("origins").type)
    columns["scores"] = pa.array([None], INSTRUCTIONS.schema.field("scores").type)
    with pytest.raises(SultanaError, match="Column messages.item.role"):
        rows = pa.table(columns, schema=INSTRUCTIONS.schema)
        tables.write(INSTRUCTIONS, rows, mode="overwrite", provenance=by("n"))
    assert tables.head("numbers") is None


def test_the_digest_is_that_of_the_rows_however_they_came(tmp_path: Path) -> None:
    first, second, third = (LanceTables(tmp_path / name) for name in "123")
    whole = put(first, "1", "overwrite", numbers("a", "b", "c"))
    put(second, "1", "append", numbers("c"))
    appended = put(second, "2", "append", numbers("b", "a"))
    put(third, "1", "append", numbers("c", "b"))
    changed = pa.table({"id": ["c", "a"], "v": [7, 0]}, schema=NUMBERS.schema)
    other = put(third, "2", "upsert", changed)
    again = put(third, "3", "upsert", numbers("c", value=2))
    assert whole.rows == 3 and (appended.digest, appended.rows) == (whole.digest, 3)
    assert other.digest != whole.digest and again.rows == 3


def test_an_error_of_the_source_comes_through_and_leaves_nothing(tables: LanceTables) -> None:
    before = put(tables, "1", "overwrite", numbers("a"))

    def rows() -> Iterator[pa.RecordBatch]:
        for start in range(0, 200_000, 1000):
            yield numbers(*(f"{n:032x}" for n in range(start, start + 1000))).to_batches()[0]
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        tables.write(NUMBERS, rows(), mode="append", provenance=by("2"))
    assert tables.head("numbers") == before
    assert len(os.listdir(tables.path("numbers") / "data")) == 1


def test_a_closed_fence_leaves_the_old_state(tmp_path: Path) -> None:
    closed = False

    def fence() -> None:
        if closed:
            raise SultanaError("the run has ended", "start another", code="run-ended")

    tables = LanceTables(tmp_path, fence)
    before = put(tables, "1", "overwrite", numbers("a"))
    closed = True
    for mode in ("overwrite", "append", "upsert"):
        with pytest.raises(SultanaError, match="the run has ended"):
            put(tables, "2", mode, numbers("b"))
    assert tables.head("numbers") == before and tables.open(before).latest_version == before.version
    assert len(os.listdir(tables.path("numbers") / "data")) == 1


def test_batches_and_filters_read_at_the_version(tables: LanceTables) -> None:
    ref = put(tables, "1", "overwrite", numbers(*(f"k{n}" for n in range(100))))
    put(tables, "2", "overwrite", numbers("z"))
    assert [batch.num_rows for batch in tables.batches(ref, batch_size=40)] == [40, 40, 20]
    assert tables.read(ref, columns=["v"], filter="id IN ('k1', 'k2', 'z')").to_pydict() == {"v": [0, 0]}
    with pytest.raises(SultanaError, match="Version 9 of the table numbers .* cannot be read"):
        tables.read(TableRef("numbers", 9, "a" * 64, 1, "t"))
    with pytest.raises(SultanaError, match="was replaced or rolled back"):
        tables.read(TableRef("numbers", 1, "a" * 64, 1, "t"))


def test_lancedb_opens_the_same_folder(tables: LanceTables) -> None:
    import lancedb

    put(tables, "1", "overwrite", numbers("a", "b"))
    put(tables, "2", "upsert", numbers("b", "c", value=1))
    database = lancedb.connect(tables.root)
    table = database.open_table("numbers")
    assert table.search().where("v = 1").select(["id"]).to_arrow()["id"].to_pylist() == ["b", "c"]
    assert table.schema.field("id").metadata == {b"lance-schema:unenforced-primary-key": b"true"}
    table.checkout(tables.versions("numbers")[0].tag)
    assert table.count_rows() == 2


STREAMED = """
import sys, pyarrow as pa
from pathlib import Path
from assets.records import CURRICULUM
from resources.memory import peak_mebibytes
from resources.table_refs import Provenance
from resources.tables import LanceTables
schema, blob = CURRICULUM.schema, "x" * 100_000
def rows(batches):
    for number in range(batches):  # of 1 MB
        ids = [f"{number}:{slot}" for slot in range(10)]
        row = {name: [blob] * 10 if name == "reason" else ids for name in schema.names}
        row |= {field.name: [0] * 10 for field in schema if not pa.types.is_string(field.type)}
        yield pa.RecordBatch.from_pydict(row, schema=schema)
def written(batches):
    place = Provenance("run", "numbers", str(batches))
    ref = LanceTables(Path(sys.argv[1])).write(CURRICULUM, rows(batches), mode="overwrite", provenance=place)
    return ref.rows, peak_mebibytes()
before = written(2)[1]
found, after = written(600)
print(found, round(after - before))
"""


def test_streaming_holds_a_few_batches_only(tmp_path: Path) -> None:
    # In a process of its own: what others held before hides what is held now.
    command = [sys.executable, "-c", STREAMED, str(tmp_path / "store")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows, mebibytes = map(int, found.stdout.split())
    assert rows == 6000 and mebibytes < 244


def test_a_stream_cut_into_several_files_keeps_rows_order_and_keys(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_FILE_BYTES", 3000)
    ids = [f"{number:04d}" for number in range(900)]

    def rows(names: list[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(names), 50):
            yield numbers(*names[start : start + 50]).to_batches()[0]

    ref = tables.write(NUMBERS, rows(ids[:500]), mode="overwrite", provenance=by("1"))
    ref = tables.write(NUMBERS, rows(ids[500:]), mode="append", provenance=by("2"))
    assert len(tables.open(ref).get_fragments()) == 9
    assert tables.read(ref)["id"].to_pylist() == ids
    with pytest.raises(SultanaError, match='"0000" 2 times'):
        tables.write(NUMBERS, rows([*ids, "0000"]), mode="overwrite", provenance=by("3"))
    assert len(os.listdir(tables.path("numbers") / "data")) == 9
    upserted = put(tables, "4", "upsert", numbers("0003", "new", value=7))
    assert content(tables, upserted) == {**dict.fromkeys(ids, 0), "0003": 7, "new": 7}


def test_a_commit_is_quick(tables: LanceTables) -> None:
    put(tables, "0", "upsert", numbers("a"))
    start = time.perf_counter()
    for turn in range(10):
        put(tables, str(turn + 1), "upsert", numbers(str(turn)))
    assert (time.perf_counter() - start) / 10 < 0.5  # seconds; about 15 ms where nothing else runs

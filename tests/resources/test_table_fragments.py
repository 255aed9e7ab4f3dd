"""Rows that workers wrote: committed once by the one door, equal to rows that it wrote itself, and never half."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from assets.records import Record
from resources import lance_folder, table_folder, table_fragments, table_indices
from resources.errors import SultanaError
from resources.orphans import files_of_no_version, remove_files
from resources.table_folder import LocalFolder
from resources.table_fragments import Fragments, Target, Written, in_portions, target_of, write_rows
from resources.table_refs import Provenance, TableRef
from resources.table_verification import verify_version
from resources.tables import LanceTables, Mode

ROOT = Path(__file__).parents[2]
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("v", pa.list_(pa.struct([pa.field("n", pa.int64())])), nullable=False),
    ]
)
NUMBERS = Record("numbers", "id", SCHEMA)


def batch(ids: str, value: int = 0) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"id": one, "v": [{"n": value}]} for one in ids], schema=SCHEMA)


def wrote(target: Target, ids: str, value: int = 0) -> Written:
    """What a worker reports."""
    return write_rows(target, [batch(ids, value)])


def put(tables: LanceTables, key: str, mode: Mode, *parts: str, value: int = 0) -> TableRef:
    with tables.fragments(NUMBERS) as target:
        fragments = Fragments(wrote(target, part, value) for part in parts)
        return tables.write(NUMBERS, fragments, mode=mode, provenance=Provenance("run", "numbers", key))


def put_rows(tables: LanceTables, key: str, mode: Mode, *parts: str, value: int = 0) -> TableRef:
    rows = pa.Table.from_batches([batch(part, value) for part in parts])
    return tables.write(NUMBERS, rows, mode=mode, provenance=Provenance("run", "numbers", key))


def rows_of(tables: LanceTables, ref: TableRef) -> dict[str, int]:
    return {row["id"]: row["v"][0]["n"] for row in tables.read(ref).to_pylist()}


@pytest.fixture
def tables(tmp_path: Path) -> LanceTables:
    return LanceTables(tmp_path / "store")


def test_what_workers_wrote_is_what_the_door_would_have_written(tables: LanceTables, tmp_path: Path) -> None:
    other = LanceTables(tmp_path / "other")
    for key, mode, parts, value in (
        ("1", "overwrite", ("ca", "b"), 1),
        ("2", "append", ("d", "fe"), 2),
        ("3", "upsert", ("xa", "by"), 3),
        ("4", "upsert", ("z",), 4),
        ("5", "overwrite", ("ef", "g"), 5),
    ):
        ref = put(tables, key, mode, *parts, value=value)  # type: ignore[arg-type]
        expected = put_rows(other, key, mode, *parts, value=value)  # type: ignore[arg-type]
        assert (ref.digest, ref.rows) == (expected.digest, expected.rows)
        assert rows_of(tables, ref) == rows_of(other, expected)
        assert tables.open(ref).schema.equals(other.open(expected).schema, check_metadata=True)
        assert tables.open(ref).data_storage_version == other.open(expected).data_storage_version
        assert verify_version(tables, ref, every_row=True).problems == []
    assert tables.read(ref)["id"].to_pylist() == ["e", "f", "g"]  # in the order of the parts
    assert tables.check() == [] and len(tables.versions("numbers")) == 5
    with tables.locked("numbers"):
        assert files_of_no_version(tables, "numbers") == []


def test_the_log_has_the_hash_of_each_file_and_the_door_does_not_read_them_again(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tables.fragments(NUMBERS) as target:
        part = wrote(target, "ab")
        with monkeypatch.context() as patch:
            read: list[str] = []
            real = table_folder.stored_file
            patch.setattr("resources.table_folder.stored_file", lambda f, p: (read.append(p), real(f, p))[1])
            ref = tables.write(
                NUMBERS, Fragments([part]), mode="overwrite", provenance=Provenance("r", "n", "1")
            )
    assert not any(one.startswith("data/") for one in read) and read
    logged = {one.path: one for one in tables.commits.files(tables.commits.history("numbers")[-1])}
    data = part.files[0]
    assert logged[data.path] == data
    assert data.sha256 == hashlib.sha256((tables.path("numbers") / data.path).read_bytes()).hexdigest()
    with (tables.path("numbers") / data.path).open("r+b") as file:
        file.seek(10)
        file.write(b"x")
    assert [one.code for one in tables.check()] == ["file-changed"]
    assert ref.rows == 2


def test_files_are_on_the_disk_before_a_worker_reports(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(table_fragments, "sync_path", lambda path: synced.append(path))
    part = wrote(target_of(tables.folder("numbers"), NUMBERS), "a")
    folder = tables.path("numbers")
    assert synced == [folder / part.files[0].path, folder / "data", folder, folder.parent]


def test_a_key_twice_among_parts_or_with_the_base_is_refused_and_leaves_nothing(tables: LanceTables) -> None:
    with pytest.raises(SultanaError, match="occur more than once"):
        put(tables, "1", "overwrite", "ab", "b")
    first = put(tables, "2", "overwrite", "ab")
    for mode, parts in (("append", ("cb",)), ("upsert", ("c", "c"))):
        with pytest.raises(SultanaError, match="occur more than once") as raised:
            put(tables, "3", mode, *parts)  # type: ignore[arg-type]
        assert raised.value.code == "key-twice"
    assert tables.head("numbers") == first and tables.check() == []
    with tables.locked("numbers"):
        assert files_of_no_version(tables, "numbers") == []


def test_a_part_done_twice_is_committed_once_and_its_orphan_is_reclaimed(tables: LanceTables) -> None:
    with tables.fragments(NUMBERS) as target:
        lost, part = wrote(target, "ab"), wrote(target, "ab")
        with tables.locked("numbers"):
            assert files_of_no_version(tables, "numbers") == []  # one of them may wait for its commit
        ref = tables.write(NUMBERS, Fragments([part]), mode="overwrite", provenance=Provenance("r", "n", "1"))
        with tables.locked("numbers"):
            assert files_of_no_version(tables, "numbers") == []
    assert rows_of(tables, ref) == {"a": 0, "b": 0}
    with tables.locked("numbers"):
        left = files_of_no_version(tables, "numbers")
        assert [one.path for one in left] == [lost.files[0].path]
        remove_files(tables.folder("numbers"), left)
    assert rows_of(tables, ref) == {"a": 0, "b": 0} and tables.check() == []


def test_a_closed_fence_commits_nothing_and_removes_what_was_written(tables: LanceTables) -> None:
    first = put(tables, "1", "overwrite", "a")

    def closed() -> None:
        raise SultanaError("The run has ended", "Start another", code="run-ended")

    fenced = LanceTables(tables.root, closed)
    with pytest.raises(SultanaError, match="The run has ended"):
        put(fenced, "2", "append", "b", "c")
    assert tables.head("numbers") == first and lance_folder.versions_on_disk(tables.folder("numbers")) == [1]
    with tables.locked("numbers"):
        assert files_of_no_version(tables, "numbers") == []


def test_a_known_idempotency_key_commits_nothing_more(tables: LanceTables) -> None:
    first = put(tables, "1", "overwrite", "ab")
    assert put(tables, "1", "overwrite", "ab") == first
    assert len(tables.versions("numbers")) == 1 and rows_of(tables, first) == {"a": 0, "b": 0}


def test_a_file_that_is_not_there_or_cut_is_named(tables: LanceTables) -> None:
    for damage, code in (
        (os.unlink, "path-not-shared"),
        (lambda one: os.truncate(one, 9), "table-file-changed"),
    ):
        with pytest.raises(SultanaError) as raised, tables.fragments(NUMBERS) as target:
            part = wrote(target, "a")
            damage(tables.path("numbers") / part.files[0].path)
            tables.write(NUMBERS, Fragments([part]), mode="append", provenance=Provenance("r", "n", code))
        assert raised.value.code == code and part.files[0].path in raised.value.problem
    assert tables.head("numbers") is None


def test_a_worker_that_does_not_see_the_folder_says_so(tables: LanceTables, tmp_path: Path) -> None:
    with pytest.raises(SultanaError, match="does not see .*elsewhere") as raised:
        wrote(target_of(LocalFolder(tmp_path / "elsewhere" / "numbers.lance"), NUMBERS), "a")
    assert raised.value.code == "path-not-shared" and not (tmp_path / "elsewhere").exists()


def test_rows_written_for_other_columns_are_refused(tables: LanceTables) -> None:
    with tables.fragments(NUMBERS) as target:
        part = wrote(target, "a")
    less = Record("numbers", "id", pa.schema([SCHEMA.field("id")]))
    tables.write(
        less,
        pa.table({"id": ["z"]}, schema=less.schema),
        mode="overwrite",
        provenance=Provenance("r", "n", "1"),
    )
    with pytest.raises(SultanaError) as raised:
        tables.write(less, Fragments([part]), mode="append", provenance=Provenance("r", "n", "2"))
    assert raised.value.code == "columns-differ"


def test_rows_are_found_by_their_indices_after_an_upsert(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_indices, "LEAST_ROWS", 4)
    indexed = Record("numbers", "id", SCHEMA, ("id",))
    keys = [f"key{number}" for number in range(40)]
    for key, names, value in (("1", keys, 1), ("2", keys[5:9] + ["new"], 2)):
        rows = pa.RecordBatch.from_pylist([{"id": one, "v": [{"n": value}]} for one in names], schema=SCHEMA)
        with tables.fragments(indexed) as target:
            ref = tables.write(
                indexed,
                Fragments([write_rows(target, [rows])]),
                mode="upsert",
                provenance=Provenance("r", "n", key),
            )
    assert ref.rows == 41 and tables.open(ref).describe_indices()
    for name, value in (("key5", 2), ("key0", 1), ("new", 2)):
        found = tables.read(ref, filter=f"id = '{name}'").to_pylist()
        assert [row["v"][0]["n"] for row in found] == [value]


def test_on_an_error_between_parts_those_in_hand_are_removed(tables: LanceTables) -> None:
    with tables.fragments(NUMBERS) as target:

        def parts() -> object:
            yield wrote(target, "a")
            yield wrote(target, "b")
            yield wrote(target, "c")
            raise InterruptedError

        portions = in_portions(target.folder, parts(), lambda rows, _: rows == 2)  # type: ignore[arg-type]
        first = next(portions)
        tables.write(NUMBERS, first, mode="overwrite", provenance=Provenance("r", "n", "1"))
        with pytest.raises(InterruptedError):
            next(portions)
    assert len(list((tables.path("numbers") / "data").iterdir())) == 2 and tables.check() == []


KILLED = """
import os, signal, sys, pyarrow as pa
from pathlib import Path
from resources import commits, lance_folder, tables
from resources.table_fragments import Fragments
from resources.table_refs import Provenance
from tests.resources.test_table_fragments import NUMBERS, wrote
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
root, place, mode = sys.argv[1:]
if place == "before the pointer":
    commits.CommitLog.record = kill
elif place == "before the sync":
    tables.sync_filesystem = kill
elif place == "before the tag":
    lance_folder.tag_version = kill
store = tables.LanceTables(Path(root), kill if place == "before the commit" else None)
with store.fragments(NUMBERS) as target:
    parts = Fragments([wrote(target, "b"), wrote(target, "c")])
    if place == "before the door":
        kill()
    store.write(NUMBERS, parts, mode=mode, provenance=Provenance("run", "numbers", "2"))
"""


@pytest.mark.parametrize(
    ("place", "mode"),
    [
        ("before the tag", "upsert"),
        ("before the sync", "append"),
        *((place, "append") for place in ("before the door", "before the commit", "before the pointer")),
        ("before the commit", "overwrite"),
        ("before the pointer", "upsert"),
    ],
)
def test_a_killed_commit_is_adopted_by_the_same_key_or_absent(
    tables: LanceTables, place: str, mode: Mode
) -> None:
    first = put(tables, "1", "overwrite", "a")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tables.root), place, mode], cwd=ROOT, check=False
    )
    assert killed.returncode == -9
    assert tables.head("numbers") == first and rows_of(tables, first) == {"a": 0}
    again = put(tables, "2", mode, "b", "c")
    assert again.version == 2 and set(rows_of(tables, again)) == set("bc" if mode == "overwrite" else "abc")
    assert len(tables.versions("numbers")) == 2 and tables.check() == []
    with tables.locked("numbers"):
        left = files_of_no_version(tables, "numbers")
        assert len(left) >= 2  # of the killed write, or of the one that found its version there
        remove_files(tables.folder("numbers"), left)
    assert len(rows_of(tables, again)) == again.rows and tables.check() == []
    assert verify_version(tables, again, every_row=True).problems == []

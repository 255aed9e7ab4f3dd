"""Kills, torn files, a full disk and tampering: the acknowledged version stays, and the next write works."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from assets.records import Record
from resources import lance_folder
from resources import tables as tables_module
from resources.errors import SultanaError
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

ROOT = Path(__file__).parents[2]
NUMBERS = Record(
    "numbers", "id", pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
)


def put(tables: LanceTables, key: str, mode: str, *ids: str) -> TableRef:
    rows = pa.table({"id": list(ids), "v": [0] * len(ids)}, schema=NUMBERS.schema)
    provenance = Provenance("run-1", "numbers", key)
    return tables.write(NUMBERS, rows, mode=mode, provenance=provenance)  # type: ignore[arg-type]


def ids_of(tables: LanceTables, ref: TableRef) -> list[str]:
    return sorted(tables.read(ref)["id"].to_pylist())


def manifest(tables: LanceTables, version: int) -> Path:
    return tables.path("numbers") / "_versions" / f"{2**64 - 1 - version:020d}.manifest"


@pytest.fixture
def tables(tmp_path: Path) -> LanceTables:
    return LanceTables(tmp_path / "store")


KILLED = """
import os, signal, sys, pyarrow as pa
from pathlib import Path
from assets.records import Record
from resources import commits, files, lance_folder, staging, table_refs, tables
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
root, place, mode = sys.argv[1:]
if place == "after the pointer":
    real = commits.CommitLog.record
    commits.CommitLog.record = lambda *a, **k: (real(*a, **k), kill())
elif place == "before the pointer":
    commits.CommitLog.record = kill
elif place == "before the sync":
    tables.sync_filesystem = kill
elif place == "before the tag":
    lance_folder.tag_version = kill
fence = kill if place == "before the commit" else None
schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
tables.LanceTables(Path(root), fence).write(
    Record("numbers", "id", schema), pa.table({"id": ["b"], "v": [0]}, schema=schema), mode=mode,
    provenance=table_refs.Provenance("run-1", "numbers", "2"))
"""


ONE_MODE = [("before the tag", "upsert"), ("before the sync", "upsert")]  # the same code for all modes
ALL_MODES = ["before the commit", "before the pointer", "after the pointer"]


@pytest.mark.parametrize(
    ("place", "mode"),
    ONE_MODE + [(place, mode) for place in ALL_MODES for mode in ("overwrite", "append", "upsert")],
)
def test_a_killed_write_is_adopted_or_absent(tables: LanceTables, place: str, mode: str) -> None:
    first = put(tables, "1", "overwrite", "a")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tables.root), place, mode], cwd=ROOT, check=False
    )
    assert killed.returncode == -9
    on_disk = lance_folder.versions_on_disk(tables.folder("numbers"))
    assert on_disk == ([1] if place == "before the commit" else [2, 1])
    if place != "after the pointer":
        assert tables.head("numbers") == first
    assert ids_of(tables, first) == ["a"]
    again = put(tables, "2", mode, "b")
    assert again.version == 2 and again.rows == (1 if mode == "overwrite" else 2)
    assert len(lance_folder.versions_on_disk(tables.folder("numbers"))) == 2
    assert ids_of(tables, again) == (["b"] if mode == "overwrite" else ["a", "b"])
    assert len(tables.versions("numbers")) == 2 and tables.check() == []


@pytest.mark.parametrize("mode", ["overwrite", "append", "upsert"])
def test_another_write_does_not_build_upon_an_unacknowledged_version(
    tables: LanceTables, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(tables, "1", "overwrite", "a")
    with monkeypatch.context() as patch:
        patch.setattr(tables.commits, "record", lambda *_: (_ for _ in ()).throw(InterruptedError()))
        with pytest.raises(InterruptedError):
            put(tables, "2", mode, "b")
    third = put(tables, "3", mode, "c")
    assert ids_of(tables, third) == (["c"] if mode == "overwrite" else ["a", "c"])
    assert tables.versions("numbers") == [first, third] and tables.check() == []


def test_a_version_is_adopted_only_upon_the_rows_it_was_built_on(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tables, "1", "overwrite", "a")
    with monkeypatch.context() as patch:
        patch.setattr(tables.commits, "record", lambda *_: (_ for _ in ()).throw(InterruptedError()))
        for key, row in (("2", "b"), ("3", "c")):
            with pytest.raises(InterruptedError):
                put(tables, key, "append", row)
    assert ids_of(tables, put(tables, "2", "append", "b")) == ["a", "b"]
    assert ids_of(tables, put(tables, "3", "append", "c")) == ["a", "b", "c"]
    assert tables.check() == []


def test_after_a_failed_sync_the_same_write_begins_anew(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(tables, "1", "overwrite", "a")
    with monkeypatch.context() as patch:

        def failed(_: Path) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch.setattr(tables_module, "sync_filesystem", failed)
        with pytest.raises(SultanaError, match="disk that holds .* failed") as raised:
            put(tables, "2", "append", "b")
    assert raised.value.code == "machine-fault"
    assert lance_folder.versions_on_disk(tables.folder("numbers")) == [1] and tables.head("numbers") == first
    assert ids_of(tables, put(tables, "2", "append", "b")) == ["a", "b"] and tables.check() == []


@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_a_missing_acknowledged_version_is_never_written_over(tables: LanceTables, mode: str) -> None:
    put(tables, "1", "overwrite", "a")
    put(tables, "2", "overwrite", "b")
    manifest(tables, 2).unlink()
    with pytest.raises(SultanaError, match="Version 2 of the table numbers .* manifest is missing"):
        put(tables, "3", mode, "c")
    assert lance_folder.versions_on_disk(tables.folder("numbers")) == [1]


@pytest.mark.parametrize("damage", ["empty", "zeros", "half"])
@pytest.mark.parametrize("mode", ["overwrite", "append", "upsert"])
def test_an_unreadable_head_above_the_pointer_is_dropped(
    tables: LanceTables, damage: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(tables, "1", "overwrite", "a")
    with monkeypatch.context() as patch:
        patch.setattr(tables.commits, "record", lambda *_: (_ for _ in ()).throw(InterruptedError()))
        with pytest.raises(InterruptedError):
            put(tables, "2", mode, "b")
    torn = manifest(tables, 2)
    size = torn.stat().st_size
    torn.write_bytes({"empty": b"", "zeros": bytes(size), "half": torn.read_bytes()[: size // 2]}[damage])
    (tables.path("numbers") / "_refs" / "tags" / "torn.json").write_bytes(b"")
    assert ids_of(tables, first) == ["a"]
    assert [finding.problem for finding in tables.check()] == [
        "version 2, above the acknowledged 1, cannot be read"
    ]
    again = put(tables, "3", mode, "c")
    assert again.version == 2
    assert ids_of(tables, again) == (["c"] if mode == "overwrite" else ["a", "c"])
    assert tables.check() == []
    assert set(tables.open(again).tags.list()) == {first.tag, again.tag}


def test_a_damaged_acknowledged_version_is_named_and_never_removed(tables: LanceTables) -> None:
    ref = put(tables, "1", "overwrite", "a")
    manifest(tables, 1).write_bytes(b"")
    assert "missing or unreadable" in tables.check()[0].problem
    for mode in ("overwrite", "append"):
        with pytest.raises(SultanaError, match="Version 1 of the table numbers .* cannot be read"):
            put(tables, "2", mode, "b")
    assert manifest(tables, 1).exists()
    # The remedy that the error names: move the folder away and materialize again.
    shutil.move(tables.path("numbers"), tables.root / "away")
    assert tables.head("numbers") is None
    assert "is gone" in tables.check()[0].problem
    again = put(tables, "1", "overwrite", "a")
    assert again == replace(ref, files_sha256=again.files_sha256)
    assert ids_of(tables, again) == ["a"] and tables.check() == []


def test_check_sees_what_others_did(tables: LanceTables) -> None:
    import lance

    put(tables, "1", "overwrite", "a")
    second = put(tables, "2", "append", "b")
    tag = tables.path("numbers") / "_refs" / "tags" / f"{second.tag}.json"
    moved = json.loads(tag.read_bytes())
    tag.write_text(json.dumps({**moved, "version": 1}))
    assert ["tag" in finding.problem for finding in tables.check()] == [True]
    tag.write_text(json.dumps(moved))
    assert tables.check() == []
    lance.write_dataset(pa.table({"id": ["x"]}), str(tables.root / "stranger.lance"))
    assert [finding.table for finding in tables.check()] == ["stranger"]
    shutil.rmtree(tables.root / "stranger.lance")
    # A rollback: the newest version deleted, and written again by another program with doubled keys.
    manifest(tables, 2).unlink()
    doubled = pa.table({"id": ["a"], "v": [0], "row_sha256": pa.array([bytes(32)], pa.binary(32))})
    lance.write_dataset(doubled, str(tables.path("numbers")), mode="append")
    problems = " / ".join(finding.problem for finding in tables.check())
    assert "the acknowledged version 2 is missing or unreadable" in problems
    with pytest.raises(SultanaError, match="replaced or rolled back"):
        tables.read(second)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if not mounted or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk needs root and mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("mode", ["overwrite", "append", "upsert"])
def test_a_full_disk_keeps_the_old_state_and_heals(small_disk: Path, mode: str) -> None:
    tables = LanceTables(small_disk / "store")
    first = put(tables, "1", "overwrite", "a")
    many = [os.urandom(48).hex() for _ in range(200_000)]
    with pytest.raises(SultanaError, match="disk that holds .* is full"):
        put(tables, "2", mode, *many)
    assert tables.head("numbers") == first and ids_of(tables, first) == ["a"]
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize))
    with pytest.raises(SultanaError, match="disk that holds .* is full"):
        put(tables, "3", mode, "b")
    ballast.unlink()
    assert tables.head("numbers") == first
    assert ids_of(tables, put(tables, "4", mode, "c")) == (["c"] if mode == "overwrite" else ["a", "c"])
    assert tables.check() == []

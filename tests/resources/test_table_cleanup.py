import datetime
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets.records import Record
from resources import lance_folder, table_cleanup
from resources.errors import SultanaError
from resources.files import sha256_file
from resources.orphans import files_of_no_version
from resources.reclaimed import reclaimed
from resources.table_cleanup import NEWEST, ORPHAN_SECONDS, YOUNG, Plan, bytes_of, no_writer, plan, remove
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

ROOT = Path(__file__).parent.parent.parent
NUMBERS = Record(
    "numbers", "id", pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
)
NOW = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
"""Everything is older than that."""


@pytest.fixture
def tables(tmp_path: Path) -> LanceTables:
    return LanceTables(tmp_path / "store")


def put(tables: LanceTables, key: str, mode: str = "overwrite", rows: int = 3000) -> TableRef:
    table = pa.table(
        {"id": [f"{key}-{k}" for k in range(rows)], "v": list(range(rows))}, schema=NUMBERS.schema
    )
    return tables.write(NUMBERS, table, mode=mode, provenance=Provenance("run", "numbers", key))  # type: ignore[arg-type]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if "sqlite" not in path.name}


def removed(tables: LanceTables, held: dict[Any, str] | None = None, before: datetime.datetime = NOW) -> int:
    with no_writer(tables):
        return remove(tables, plan(tables, "numbers", held or {}, before), "run", "for a test")


def test_only_what_nothing_depends_on_goes_and_the_disk_has_more_room(tables: LanceTables) -> None:
    refs = [put(tables, name) for name in "abcd"]
    held = {("numbers", refs[1].version): "model version 3"}
    planned = plan(tables, "numbers", held, NOW)
    assert [one.version for one in planned.given_up] == [refs[0].version, refs[2].version]
    assert planned.kept == {refs[1].version: "model version 3", refs[3].version: NEWEST}
    before, told = size(tables.root), bytes_of(tables, planned)
    freed = removed(tables, held)
    assert freed == told > 0 and before - size(tables.root) > 0.9 * freed
    for ref in (refs[1], refs[3]):
        assert tables.read(ref).num_rows == 3000
    for ref in (refs[0], refs[2]):
        assert tables.is_reclaimed(ref)
        with pytest.raises(SultanaError, match="was reclaimed by `sultana maintain` on 20"):
            tables.read(ref)
    assert tables.check() == [] and tables.versions("numbers") == refs
    assert removed(tables, held) == 0


def test_a_young_version_and_one_with_a_tag_of_somebody_stay(tables: LanceTables) -> None:
    refs = [put(tables, name) for name in "abc"]
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    before = tree(tables.root)
    assert removed(tables, before=long_ago) == 0
    assert set(plan(tables, "numbers", {}, long_ago).kept.values()) == {YOUNG, NEWEST}
    assert {name for name in tree(tables.root) if ".lock" not in name} == {
        name for name in before if ".lock" not in name
    }
    tables.open(refs[0]).tags.create("mine", refs[0].version)
    removed(tables)
    assert tables.read(refs[0]).num_rows == 3000 and tables.is_reclaimed(refs[1])
    assert tables.check() == []


def test_appends_share_their_files_with_what_stays(tables: LanceTables) -> None:
    first, second, third = put(tables, "a"), put(tables, "b", "append"), put(tables, "c", "append")
    assert bytes_of(tables, plan(tables, "numbers", {}, NOW)) < 20_000
    removed(tables)
    assert tables.read(third).num_rows == 9000 and tables.check() == []
    assert tables.is_reclaimed(first) and tables.is_reclaimed(second)
    assert put(tables, "d", "append").rows == 12_000


@pytest.mark.parametrize("place", ["tags", "files"])
def test_a_kill_in_between_is_harmless_and_the_next_removal_goes_on(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    refs = [put(tables, name) for name in "abc"]

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            lance_folder if place == "tags" else table_cleanup,
            *{"tags": ("remove_tags", killed), "files": ("within_time", killed)}[place],
        )
        with pytest.raises(KeyboardInterrupt):
            removed(tables)
    assert tables.check() == [] and tables.read(refs[2]).num_rows == 3000
    assert tables.is_reclaimed(refs[0]) and len(lance_folder.versions_on_disk(tables.folder("numbers"))) == 3
    assert removed(tables) > 0
    assert lance_folder.versions_on_disk(tables.folder("numbers")) == [refs[2].version]
    assert len(reclaimed(tables.commits)) == 2 and tables.check() == []


def test_a_version_that_was_given_up_is_written_again_by_the_same_work(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = put(tables, "a"), put(tables, "b")
    with monkeypatch.context() as patch:
        patch.setattr(lance_folder, "remove_tags", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            removed(tables)
    # It is still there, but it counts as given up: the next removal would take it.
    again = put(tables, "a")
    assert again.version > first.version and again.digest == first.digest
    removed(tables)
    assert tables.read(again).num_rows == 3000 and tables.check() == []


def test_versions_that_nobody_acknowledged_go_at_once(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tables, "a")
    with monkeypatch.context() as patch:
        patch.setattr("resources.tables.sync_filesystem", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            put(tables, "b")
    newest = put(tables, "c")
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    planned = plan(tables, "numbers", {}, long_ago)
    assert planned.given_up == () and len(planned.leftovers) == 1
    assert removed(tables, before=long_ago) > 0
    assert tables.check() == [] and tables.read(newest).num_rows == 3000


def test_while_versions_are_removed_nobody_writes(tables: LanceTables, tmp_path: Path) -> None:
    put(tables, "a")
    other = LanceTables(tmp_path / "store", lock_timeout=0.1)
    with no_writer(tables) as names:
        assert names == ["numbers"]
        with pytest.raises(SultanaError, match="is held by process"):
            put(other, "b")
    put(other, "b")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_version_that_is_held_or_tagged_is_ever_touched(tables: LanceTables, seed: int) -> None:
    draw = random.Random(seed)
    refs = [
        put(tables, f"k{place}", draw.choice(["overwrite", "append", "upsert"]), rows=300)
        for place in range(8)
    ]
    held = {("numbers", one.version): "needed" for one in draw.sample(refs, 2)}
    tagged = draw.sample(refs, 2)
    for one in tagged:
        tables.open(one).tags.create(f"mine-{one.version}", one.version)
    before = {one: tables.read(one) for one in refs}
    log = tables.commits
    hashes = {
        one.version: {file.path: file.sha256 for file in log.files(one)} for one in log.history("numbers")
    }
    staying = {refs[-1].version, *(version for _, version in held), *(one.version for one in tagged)}
    removed(tables, held)
    assert {one.version for one in refs if tables.is_reclaimed(one)} == {
        one.version for one in refs
    } - staying, f"seed {seed}"
    for ref in refs:
        if ref.version in staying:
            assert tables.read(ref).equals(before[ref]), f"seed {seed}, version {ref.version}"
            for path, value in hashes[ref.version].items():
                assert sha256_file(tables.path("numbers") / path) == value, f"seed {seed}, {path}"
    assert tables.check() == [] and put(tables, "next", "append", 10).rows == refs[-1].rows + 10


SLOW_WRITER = """
import sys, time
from pathlib import Path
import pyarrow as pa
from assets.records import Record
from resources.table_refs import Provenance
from resources.tables import LanceTables

schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
def rows():
    for part in range(20):
        print(part, flush=True)
        time.sleep(0.1)
        yield pa.record_batch({"id": [f"slow-{part}-{k}" for k in range(10)], "v": range(10)}, schema=schema)

LanceTables(Path(sys.argv[1])).write(
    Record("numbers", "id", schema), rows(), mode="append", provenance=Provenance("run", "numbers", "slow")
)
"""


def test_a_removal_waits_for_the_process_that_writes_and_takes_nothing_of_it(tables: LanceTables) -> None:
    refs = [put(tables, name, rows=300) for name in "abc"]
    writer = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(tables.root)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert writer.stdout is not None
    while writer.stdout.readline().strip() != "3":  # rows are on the disk, and in no version yet
        assert writer.poll() is None
    assert tables.head("numbers") == refs[-1]
    assert removed(tables) > 0
    newest = tables.head("numbers")
    writer.communicate(timeout=60)
    assert writer.returncode == 0 and newest is not None and newest == tables.head("numbers")
    assert newest.rows == 500 and tables.read(newest).num_rows == 500 and tables.check() == []
    assert all(tables.is_reclaimed(ref) for ref in refs)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM reclaimed WHERE sequence = 1",
        "UPDATE reclaimed SET version = version + 1",
        "UPDATE reclaimed SET reason = 'other' WHERE sequence = 2",
        "UPDATE reclaimed SET commit_sequence = 9 WHERE sequence = 1",
    ],
)
def test_a_changed_record_of_what_was_reclaimed_is_found(tables: LanceTables, change: str) -> None:
    for name in "abcd":
        put(tables, name)
    removed(tables)
    assert tables.check() == [] and len(reclaimed(tables.commits)) == 3
    connection = sqlite3.connect(tables.commits.path)
    with connection:
        connection.execute(change)
    connection.close()
    assert any("reclaimed" in one.problem for one in tables.check())


def test_nothing_is_removed_without_a_plan(tables: LanceTables) -> None:
    ref = put(tables, "a")
    assert remove(tables, Plan("numbers", (), (), {}), "run", "none") == 0
    assert bytes_of(tables, Plan("numbers", (), (), {})) == 0
    assert os.listdir(tables.path("numbers") / "_versions") and tables.read(ref).num_rows == 3000


def test_files_of_no_version_go_once_nobody_can_be_writing_them(tables: LanceTables) -> None:
    ref = put(tables, "a")
    folder = tables.path("numbers")
    (folder / "_indices" / "killed").mkdir(parents=True)
    strays = [folder / "data" / "killed.lance", folder / "_indices" / "killed" / "page.lance"]
    for path in strays:
        path.write_bytes(bytes(1000))
    assert removed(tables) == 0 and files_of_no_version(tables, "numbers", ORPHAN_SECONDS) == []
    for path in folder.rglob("*"):
        os.utime(path, (1.0, 1.0))
    found = files_of_no_version(tables, "numbers", ORPHAN_SECONDS)
    assert {folder / one.path for one in found} == set(strays)
    assert removed(tables) == 2000
    assert not any(path.exists() for path in strays) and not strays[1].parent.exists()
    assert tables.read(ref).num_rows == 3000 and tables.check() == []

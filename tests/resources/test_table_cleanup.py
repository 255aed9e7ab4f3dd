import datetime
import os
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets.records import Record
from resources import lance_folder, table_cleanup
from resources.errors import SultanaError
from resources.reclaimed import reclaimed
from resources.table_cleanup import NEWEST, YOUNG, Plan, bytes_of, no_writer, plan, remove
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

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
    assert tables.is_reclaimed(refs[0]) and len(lance_folder.versions_on_disk(tables.path("numbers"))) == 3
    assert removed(tables) > 0
    assert lance_folder.versions_on_disk(tables.path("numbers")) == [refs[2].version]
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

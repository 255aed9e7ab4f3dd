"""The damages that `sultana doctor` must tell apart: each is done to a whole data folder, and named by a code."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assets.records import Record
from resources import lance_folder
from resources.table_refs import Provenance
from resources.tables import LanceTables
from tests.faults.damaged_stores import (
    LEFT,
    broken_instance,
    broken_pages,
    broken_registry,
    dead_publication,
    dead_run,
    edited_model,
    empty_registry,
    half_made_instance,
    half_made_registry,
    half_written,
    held_place,
    lock_is_a_folder,
    lock_is_a_link,
    lock_without_rights,
    log_without_registry,
    lost_registry,
    lost_settings,
    missing_model_file,
    model_without_version,
    open_folder,
    wrong_settings,
)
from tests.faults.scene import NUMBERS, WORDS, commits, put, sql

Seed = Callable[[Path], None]


@dataclass(frozen=True)
class Damage:
    """What is done to a data folder, the code by which the doctor names it, and whether the doctor mends it."""

    title: str
    code: str
    seed: Seed
    repaired: bool

    def __str__(self) -> str:
        return self.title.replace(" ", "-")


def tables_of(data: Path) -> LanceTables:
    return LanceTables(data / "lance")


def folder_of(data: Path, table: str = "numbers") -> Path:
    return data / "lance" / f"{table}.lance"


def interrupted(data: Path, record: Record = NUMBERS, mode: str = "append") -> None:
    """A write that ends after the commit of Lance and before the commit log."""
    tables = tables_of(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables.commits, "record", lambda *_: (_ for _ in ()).throw(InterruptedError()))
        with pytest.raises(InterruptedError):
            if record is NUMBERS:
                put(tables, "late", mode)
            else:
                rows = tables.read(tables.head("words"))  # type: ignore[arg-type]
                tables.write(record, rows, mode="overwrite", provenance=Provenance("run", "copy", "late"))


def phantom(data: Path) -> None:
    (folder_of(data, "ghost") / "data").mkdir(parents=True)
    (folder_of(data, "ghost") / "data" / "rows.lance").write_bytes(b"x" * 100)


def torn_first_version(data: Path) -> None:
    phantom(data)
    (folder_of(data, "ghost") / "_versions").mkdir()
    lance_folder.manifest(folder_of(data, "ghost"), 1).write_bytes(b"")


def unreadable_head(data: Path) -> None:
    interrupted(data)
    newest = lance_folder.versions_on_disk(folder_of(data))[0]
    path = lance_folder.manifest(folder_of(data), newest)
    path.write_bytes(bytes(path.stat().st_size))


def unacknowledged_head(data: Path) -> None:
    interrupted(data)


def unacknowledged_overwrite(data: Path) -> None:
    interrupted(data, mode="overwrite")


def unacknowledged_table(data: Path) -> None:
    interrupted(data, Record("copy", "id", WORDS.schema))


def orphan_files(data: Path) -> None:
    folder = folder_of(data)
    for name in (
        "data/left.lance",
        "data/.erasing-left",
        "_indices/none/part.lance",
        "_transactions/9-x.txn",
    ):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"x" * 1000)


def tag_of(data: Path, sequence: int) -> Path:
    commit = commits(data)[sequence]
    return folder_of(data, commit.table) / "_refs" / "tags" / f"{commit.tag}.json"


def torn_tag(data: Path) -> None:
    path = tag_of(data, 1)
    path.write_bytes(path.read_bytes()[:20])


def missing_tag(data: Path) -> None:
    tag_of(data, 0).unlink()


def moved_tag(data: Path) -> None:
    shutil.copy(tag_of(data, 2), tag_of(data, 1))


def left_log(data: Path) -> None:
    database = data / "lance" / "commits.sqlite"
    killed = subprocess.run(
        [sys.executable, "-c", LEFT, str(database), "PRAGMA user_version=1"], timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert database.with_name("commits.sqlite-wal").stat().st_size


def data_file(data: Path, table: str = "words") -> Path:
    return next((folder_of(data, table) / "data").glob("*.lance"))


def flipped_bit(data: Path) -> None:
    path = data_file(data)
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)


def missing_file(data: Path) -> None:
    data_file(data).unlink()


def zeroed_manifest(data: Path) -> None:
    path = lance_folder.manifest(folder_of(data, "words"), 1)
    path.write_bytes(bytes(path.stat().st_size))


def missing_table(data: Path) -> None:
    shutil.rmtree(folder_of(data, "words"))


def edited_log(data: Path) -> None:
    sql(data / "lance" / "commits.sqlite", "UPDATE commits SET row_count = 7 WHERE sequence = 2")


def edited_files_of_log(data: Path) -> None:
    sql(data / "lance" / "commits.sqlite", "UPDATE files SET size = size + 1 WHERE sequence = 4")


def broken_log(data: Path) -> None:
    broken_pages(data / "lance" / "commits.sqlite")


def lost_log(data: Path) -> None:
    (data / "lance" / "commits.sqlite").unlink()


def rolled_back_log(data: Path) -> None:
    """A log from a backup, and everything else from after it: the rows are chained as they were then."""
    database = data / "lance" / "commits.sqlite"
    sql(database, "DELETE FROM files WHERE sequence = 4")
    sql(database, "DELETE FROM commits WHERE sequence = 4")


def earlier_release(data: Path) -> None:
    database = data / "lance" / "commits.sqlite"
    sql(database, "PRAGMA user_version=0")
    sql(database, "ALTER TABLE commits DROP COLUMN files_sha256")


def later_release(data: Path) -> None:
    sql(data / "lance" / "commits.sqlite", "PRAGMA user_version=99")


def half_restored(data: Path) -> None:
    (data / ".restoring").write_text("{}")


def foreign_version(data: Path) -> None:
    import lance

    lance.dataset(str(folder_of(data))).delete("v = 3")


DAMAGES = [
    Damage("phantom table", "phantom-table", phantom, True),
    Damage("torn first version", "phantom-table", torn_first_version, True),
    Damage("unreadable head", "unreadable-head", unreadable_head, True),
    Damage("unacknowledged append", "unacknowledged-head", unacknowledged_head, True),
    Damage("unacknowledged overwrite", "unacknowledged-head", unacknowledged_overwrite, True),
    Damage("unacknowledged first version", "unacknowledged-head", unacknowledged_table, True),
    Damage("orphan files", "orphan-files", orphan_files, True),
    Damage("torn tag", "tag-torn", torn_tag, True),
    Damage("missing tag", "tag-missing", missing_tag, True),
    Damage("moved tag", "tag-moved", moved_tag, True),
    Damage("dead run", "run-dead", dead_run, True),
    Damage("place in a pool", "pool-place-held", held_place, True),
    Damage("half-written files", "half-written", half_written, True),
    Damage("lock that is a folder", "lock-unusable", lock_is_a_folder, True),
    Damage("lock that is a link", "lock-unusable", lock_is_a_link, True),
    Damage("lock without rights", "lock-unusable", lock_without_rights, True),
    Damage("write-ahead log left behind", "log-left-behind", left_log, True),
    Damage("dead publication", "publication-dead", dead_publication, True),
    Damage("model without version", "model-without-version", model_without_version, True),
    Damage("half-made registry", "registry-half-made", half_made_registry, True),
    Damage("empty registry", "registry-half-made", empty_registry, True),
    Damage("half-made instance", "instance-half-made", half_made_instance, True),
    Damage("lost settings", "instance-settings-gone", lost_settings, True),
    Damage("folder open to others", "folder-not-private", open_folder, True),
    Damage("flipped bit", "file-changed", flipped_bit, False),
    Damage("missing file", "file-missing", missing_file, False),
    Damage("zeroed manifest", "file-changed", zeroed_manifest, False),
    Damage("missing table", "table-missing", missing_table, False),
    Damage("edited commit log", "commit-log-damaged", edited_log, False),
    Damage("edited list of files", "commit-log-damaged", edited_files_of_log, False),
    Damage("broken commit log", "commit-log-damaged", broken_log, False),
    Damage("lost commit log", "commit-log-gone", lost_log, False),
    Damage("rolled back commit log", "commit-log-behind", rolled_back_log, False),
    Damage("edited model", "model-damaged", edited_model, False),
    Damage("missing model file", "model-damaged", missing_model_file, False),
    Damage("broken registry", "registry-damaged", broken_registry, False),
    Damage("lost registry", "registry-gone", lost_registry, False),
    Damage("log without registry", "database-gone", log_without_registry, False),
    Damage("broken instance", "instance-database-damaged", broken_instance, False),
    Damage("wrong settings", "instance-unusable", wrong_settings, False),
    Damage("earlier release", "data-of-earlier-release", earlier_release, False),
    Damage("later release", "data-of-later-release", later_release, False),
    Damage("half restored", "restore-unfinished", half_restored, False),
    Damage("version of another program", "foreign-version", foreign_version, False),
]
QUICK = {
    "phantom table",
    "unreadable head",
    "unacknowledged append",
    "orphan files",
    "torn tag",
    "dead run",
    "half-written files",
    "lock that is a folder",
    "dead publication",
    "half-made instance",
    "flipped bit",
    "missing file",
    "edited commit log",
    "lost commit log",
    "rolled back commit log",
    "edited model",
    "earlier release",
}
"""Those of the default suite; the others are among the slow tests."""


def chosen(repaired: bool) -> list[Any]:
    """The damages that the doctor mends, or those that it does not, for `pytest.mark.parametrize`."""
    return [
        pytest.param(one, id=str(one), marks=() if one.title in QUICK else pytest.mark.slow)
        for one in DAMAGES
        if one.repaired == repaired
    ]

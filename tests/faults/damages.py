"""The damages that `sultana doctor` must tell apart: each is done to a whole data folder, and named by a code."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.records import Record
from orchestration.dead_runs import PROCESS_TAG
from orchestration.instance import open_instance
from resources import lance_folder
from resources.table_folder import LocalFolder
from resources.table_refs import Provenance
from resources.tables import LanceTables
from resources.tracking import Tracking
from tests.faults.scene import MODEL, NUMBERS, WORDS, commits, nothing_job, publish, put, sql

LONG_AGO = time.time() - 7 * 86_400
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
    (folder_of(data, "ghost") / lance_folder.manifest(1)).write_bytes(b"")


def unreadable_head(data: Path) -> None:
    interrupted(data)
    newest = lance_folder.versions_on_disk(LocalFolder(folder_of(data)))[0]
    path = folder_of(data) / lance_folder.manifest(newest)
    path.write_bytes(bytes(path.stat().st_size))


def unacknowledged_head(data: Path) -> None:
    interrupted(data)


def unacknowledged_overwrite(data: Path) -> None:
    interrupted(data, mode="overwrite")


def unacknowledged_table(data: Path) -> None:
    interrupted(data, Record("copy", "id", WORDS.schema))


def dead_run(data: Path) -> None:
    with open_instance(data) as instance:
        instance.create_run_for_job(
            nothing_job, status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: "another-boot:1:1"}
        )


def held_place(data: Path) -> None:
    with open_instance(data) as instance:
        run = instance.create_run_for_job(nothing_job, status=dg.DagsterRunStatus.SUCCESS)
        instance.event_log_storage.set_concurrency_slots("device", 1)
        assert instance.event_log_storage.claim_concurrency_slot("device", run.run_id, "step").is_claimed


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


def half_written(data: Path) -> None:
    for name in (
        "tmp/export-abc/model",
        ".dagster.tmp/x",
        "policies/.partial-x/state",
        "lance/.commits.sqlite.x/y",
        "mlflow/.mlflow.db.x/y",
    ):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_bytes(b"x")
    (data / "lineage").mkdir()
    (data / "lineage" / ".model.json.x.tmp").write_bytes(b"{")
    for path in [*data.glob("tmp/*"), *data.rglob("*")]:
        os.utime(path, (LONG_AGO, LONG_AGO))


def lock_is_a_folder(data: Path) -> None:
    path = data / "lance" / ".locks" / "numbers.lock"
    path.unlink()
    path.mkdir()


def lock_without_rights(data: Path) -> None:
    (data / "mlflow" / f".publish-{MODEL}.lock").chmod(0o400)


def lock_is_a_link(data: Path) -> None:
    path = data / ".dagster.lock"
    path.unlink()
    path.symlink_to(data / "nowhere")


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


LEFT = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute(sys.argv[2])
connection.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


def left_log(data: Path) -> None:
    database = data / "lance" / "commits.sqlite"
    killed = subprocess.run(
        [sys.executable, "-c", LEFT, str(database), "PRAGMA user_version=1"], timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert database.with_name("commits.sqlite-wal").stat().st_size


def dead_publication(data: Path) -> None:
    from resources import tracking

    files = data / "tmp" / "files"
    files.mkdir(parents=True)
    (files / "adapter_model.safetensors").write_bytes(b"other" * 1000)
    (files / "MLmodel").write_text("flavors: {}\n")
    upload = tracking.upload_model

    def killed(*arguments: object) -> None:
        upload(*arguments)  # type: ignore[arg-type]
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "upload_model", killed)
        with pytest.raises(InterruptedError):
            publish(Tracking(None, data / "mlflow"), files, "second")
    shutil.rmtree(data / "tmp")


def model_without_version(data: Path) -> None:
    dead_publication(data)
    with Tracking(None, data / "mlflow").client() as client:
        experiment = client.get_experiment_by_name("sultana")
        for run in client.search_runs(
            [experiment.experiment_id], filter_string="attributes.status = 'RUNNING'"
        ):
            client.set_terminated(run.info.run_id, "FAILED")


def half_made_registry(data: Path) -> None:
    shutil.rmtree(data / "mlflow" / "artifacts")
    database = data / "mlflow" / "mlflow.db"
    database.unlink()
    sql(database, "CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY)")
    sql(database, "CREATE TABLE alembic_version (version_num VARCHAR(32))")


def empty_registry(data: Path) -> None:
    shutil.rmtree(data / "mlflow")
    (data / "mlflow").mkdir()
    (data / "mlflow" / "mlflow.db").touch()


def half_made_instance(data: Path) -> None:
    shutil.rmtree(data / "dagster")
    (data / "dagster" / "history" / "runs").mkdir(parents=True)
    (data / "dagster" / "history" / "runs.db").touch()


def lost_settings(data: Path) -> None:
    (data / "dagster" / "dagster.yaml").unlink()


def open_folder(data: Path) -> None:
    data.chmod(0o755)


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
    path = folder_of(data, "words") / lance_folder.manifest(1)
    path.write_bytes(bytes(path.stat().st_size))


def missing_table(data: Path) -> None:
    shutil.rmtree(folder_of(data, "words"))


def edited_log(data: Path) -> None:
    sql(data / "lance" / "commits.sqlite", "UPDATE commits SET row_count = 7 WHERE sequence = 2")


def edited_files_of_log(data: Path) -> None:
    sql(data / "lance" / "commits.sqlite", "UPDATE files SET size = size + 1 WHERE sequence = 4")


def broken_pages(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    database.write_bytes(content)


def broken_log(data: Path) -> None:
    broken_pages(data / "lance" / "commits.sqlite")


def lost_log(data: Path) -> None:
    (data / "lance" / "commits.sqlite").unlink()


def rolled_back_log(data: Path) -> None:
    """A log from a backup, and everything else from after it: the rows are chained as they were then."""
    database = data / "lance" / "commits.sqlite"
    sql(database, "DELETE FROM files WHERE sequence = 4")
    sql(database, "DELETE FROM commits WHERE sequence = 4")


def model_file(data: Path) -> Path:
    return next((data / "mlflow" / "artifacts").rglob("adapter_model.safetensors"))


def edited_model(data: Path) -> None:
    model_file(data).write_bytes(b"other" + model_file(data).read_bytes()[5:])


def missing_model_file(data: Path) -> None:
    model_file(data).unlink()


def broken_registry(data: Path) -> None:
    broken_pages(data / "mlflow" / "mlflow.db")


def lost_registry(data: Path) -> None:
    (data / "mlflow" / "mlflow.db").unlink()


def log_without_registry(data: Path) -> None:
    database = data / "mlflow" / "mlflow.db"
    subprocess.run(
        [sys.executable, "-c", LEFT, str(database), "PRAGMA user_version=3"], timeout=60, check=False
    )
    database.unlink()


def broken_instance(data: Path) -> None:
    broken_pages(data / "dagster" / "history" / "runs.db")


def wrong_settings(data: Path) -> None:
    (data / "dagster" / "dagster.yaml").write_text("storage: [")


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

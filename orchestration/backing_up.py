"""`sultana backup`: a copy of the data folder as one moment had it, made while others go on writing.

Whoever names something comes before what is named: Dagster's databases, then MLflow's, then the commit log, then the
files of the versions that this copy of the log acknowledges. What is written meanwhile is in none of them, or in the
later ones only, as after a kill. Nothing is removed or erased meanwhile: maintenance, retractions and repairs wait.
"""

import contextlib
import datetime
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from orchestration.diagnosis.finding import mebibytes
from orchestration.diagnosis.leftovers import STAGED, matching
from resources import lance_folder
from resources.backup_files import (
    PARTIAL,
    Copying,
    check_backup,
    finish,
    newest_whole,
    write_manifest,
)
from resources.commits import CommitLog
from resources.data_format import RESTORING, check_data_folder
from resources.databases import INSTANCE, LOG, REGISTRY, present
from resources.definitions import ModelRegistry, Storage, data_folder
from resources.errors import SultanaError
from resources.files import MANIFEST, disk_full_explained, exclusive_lock, sha256_file, sync_filesystem
from resources.publishing import MANIFEST_TAG, different_files, stored_files
from resources.reclaimed import reclaimed
from resources.rewritten import files_now
from resources.sqlite_files import copy_database, integrity, is_database, lies_beside
from resources.text import escape_terminal

if TYPE_CHECKING:
    from resources.tracking import Tracking

LONGEST_WAIT = 600.0
LEFT_OUT_OF_DAGSTER = ("dagster/history", "dagster/schedules")
"""What is left of the time before Dagster's storage was moved to PostgreSQL."""

LEFT_OUT = ("lance", "models", "tmp", "locks", RESTORING)
MODELS = "models/: base models that were converted or downloaded; the embedded one is converted again when it is needed"
SOURCES = "source files that lie outside of the data folder"


def back_up(place: Path, tracking_uri: str = "") -> dict[str, Any]:
    """Make a backup below the folder `place`; as JSON values what is in it, and what is not.

    Raises SultanaError, with no backup made, where the data folder is not whole, a file is not what was acknowledged,
    the disk is full, or another backup, a maintenance or a retraction does not end.
    """
    root, place = data_folder(), place.expanduser().resolve()
    check_data_folder(root)
    if not (root / LOG).exists():
        raise SultanaError(
            f"{root} holds nothing to back up", "Make something first: sultana run", code="nothing-to-back-up"
        )
    if place.is_relative_to(root) or root.is_relative_to(place):
        raise SultanaError(
            f"The place for backups, {place}, and the data folder, {root}, lie in one another",
            "Give a folder elsewhere, best on another disk",
            code="backup-place",
        )
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    tracking = ModelRegistry(tracking_uri=tracking_uri).open(Storage())
    with disk_full_explained(place), exclusive_lock(place / ".backup.lock", 1.0), _nothing_removed(root):
        for left in place.glob(f"{PARTIAL}*"):  # of a backup that was killed
            shutil.rmtree(left)
        now = datetime.datetime.now(datetime.UTC)
        name = now.strftime("%Y-%m-%dT%H-%M-%S.%fZ")
        partial = place / f"{PARTIAL}{name}"
        partial.mkdir(mode=0o700)
        try:
            made = Copying(partial, newest_whole(place))
            missing = _copy_all(root, made, tracking)
            sync_filesystem(partial)
            check_backup(partial, {path: made.files[path] for path in made.files.keys() - made.linked})
            log = CommitLog(partial / LOG)
            _check_databases(partial, log)
            last = max((one.sequence for table in log.tables() for one in log.history(table)), default=0)
            about = {
                "created_at": now.isoformat(timespec="seconds"),
                "data_folder": str(root),
                "last_commit": last,
                "not_in_it": missing,
            }
            write_manifest(partial, made.files, about)
            sync_filesystem(partial)
            finish(partial, place / name)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return {
        "backup": str(place / name),
        **about,
        "files": len(made.files),
        "bytes": sum(size for size, _ in made.files.values()),
        "linked_files": len(made.linked),
        "linked_bytes": sum(made.files[path][0] for path in made.linked),
    }


def show_backup(made: Mapping[str, Any], console: Console) -> None:
    """Prints where the backup is, how large, and what is not in it."""
    console.print(
        escape_terminal(
            f"Backup: {made['backup']}: {made['files']:,} files, {mebibytes(made['bytes'])}, of which "
            f"{mebibytes(made['linked_bytes'])} were in the one before"
        ),
        markup=False,
        soft_wrap=True,
    )
    for one in made["not_in_it"]:
        console.print(escape_terminal(f"Not in it: {one}"), markup=False, soft_wrap=True)


@contextlib.contextmanager
def _nothing_removed(root: Path) -> Iterator[None]:
    """While this lasts no version is given up, no row erased and nothing repaired."""
    with (
        exclusive_lock(root / "lance" / ".locks" / ".maintenance.lock", LONGEST_WAIT),
        exclusive_lock(root / "locks" / "retractions.lock", LONGEST_WAIT),
    ):
        yield


def _copy_all(root: Path, made: Copying, tracking: "Tracking") -> list[str]:
    """Copies everything; what is not in the backup, in words."""
    missing = [MODELS, SOURCES]
    registry = root / REGISTRY
    with contextlib.ExitStack() as locks:
        # A promotion is a row of a table and an alias: both or neither.
        for name in tracking.models() if tracking.database != registry or registry.exists() else ():
            locks.enter_context(exclusive_lock(root / "locks" / f"promotion-{name}.lock", LONGEST_WAIT))
        if _in_postgres(root):
            missing.append(
                "Dagster's runs and events, which are in PostgreSQL: save them with pg_dump before each backup"
            )
        else:
            for database in present(root, INSTANCE):
                _copy_database(root, made, database)
        if tracking.database == registry:
            if registry.exists():
                _copy_database(root, made, registry)
        else:
            missing.append(
                "MLflow's database, which is elsewhere: save it with the means of that place (PostgreSQL: pg_dump) "
                "before each backup"
            )
        _copy_database(root, made, root / LOG)
    _copy_tables(root, made, CommitLog(made.folder / LOG))
    _copy_others(root, made, LEFT_OUT_OF_DAGSTER if _in_postgres(root) else ())
    if tracking.database == registry:
        _check_models(made)
    return missing


def _in_postgres(root: Path) -> bool:
    settings = root / "dagster" / "dagster.yaml"
    return settings.exists() and "postgres" in (yaml.safe_load(settings.read_text()) or {}).get("storage", {})


def _copy_database(root: Path, made: Copying, database: Path) -> None:
    path = database.relative_to(root).as_posix()
    copy_database(database, made.place(path))
    made.made(path)


def _copy_tables(root: Path, made: Copying, log: CommitLog) -> None:
    gone = reclaimed(log)
    for table in log.tables():
        folder = root / "lance" / f"{table}.lance"
        if not lance_folder.versions_on_disk(
            folder
        ):  # the user removed it, though the log remembers its versions
            continue
        living = {one.version: one for one in log.history(table) if one.sequence not in gone}
        files = {
            one.path: one for commit in living.values() for one in files_now(log, table, log.files(commit))
        }
        for path, one in sorted(files.items()):
            try:
                made.add(f"lance/{folder.name}/{path}", folder / path, (one.size, one.sha256))
            except FileNotFoundError as error:
                raise SultanaError(
                    f"The file {path} of the table {table} in {root} is missing",
                    "Run `sultana doctor`; restore the table from an earlier backup",
                    code="backup-of-damage",
                ) from error
        for name, version in lance_folder.tags(folder).items():
            if version in living:
                path = f"_refs/tags/{name}.json"
                made.add(f"lance/{folder.name}/{path}", folder / path)


def _copy_others(root: Path, made: Copying, left_out: Sequence[str]) -> None:
    passed_over = {*matching(root, STAGED), *(root / name for name in left_out)}
    for path in _files(root, passed_over):
        name = path.relative_to(root).as_posix()
        if name in made.files:
            continue
        with contextlib.suppress(
            FileNotFoundError
        ):  # gone since it was listed: states of trainings come and go
            if is_database(path):
                _copy_database(root, made, path)
            else:
                made.add(name, path)


def _files(root: Path, passed_over: set[Path]) -> Iterator[Path]:
    """Every other plain file that is neither a lock nor half-written; links are never followed."""
    waiting = sorted(path for path in root.iterdir() if path.name not in LEFT_OUT)
    while waiting:
        path = waiting.pop(0)
        if path.is_symlink() or path in passed_over:
            continue
        if path.is_dir():
            with contextlib.suppress(FileNotFoundError):
                waiting += sorted(path.iterdir())
        elif path.is_file() and not path.name.endswith(".lock") and not lies_beside(path):
            yield path


def _check_databases(partial: Path, log: CommitLog) -> None:
    for database in [path for path in sorted(partial.rglob("*")) if path.is_file() and is_database(path)]:
        if (verdict := integrity(database, alone=True)) != "ok":
            raise SultanaError(
                f"The database {database.relative_to(partial)} of the data folder is damaged: {verdict[:300]}",
                "Run `sultana doctor`; restore it from an earlier backup",
                code="backup-of-damage",
            )
    if problem := log.check():
        raise SultanaError(
            f"The commit log is damaged: {problem}",
            "Run `sultana doctor`; restore the data folder from an earlier backup",
            code="backup-of-damage",
        )


def _check_models(made: Copying) -> None:
    """Every registered version that Sultana published is there, and its files are those that its manifest names."""
    found = {
        manifest.parents[1].name: manifest
        for manifest in made.folder.glob(f"mlflow/artifacts/*/models/*/artifacts/{MANIFEST}")
    }
    for model, version, source, expected in _published(made.folder / REGISTRY):
        manifest = found.get(source.rpartition("/")[2])
        if manifest is None or sha256_file(manifest) != expected:
            raise _damaged_model(model, version, f"its {MANIFEST} is missing or was changed")
        published = json.loads(manifest.read_bytes())["files"]
        for name, state in different_files(published, stored_files(manifest.parent)).items():
            raise _damaged_model(model, version, f"its file {name} {state}")


def _published(registry: Path) -> list[tuple[str, int, str, str]]:
    """Model, version, source and the hash of its manifest."""
    if not registry.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{registry.as_uri()}?immutable=1", uri=True)) as connection:
        return connection.execute(
            "SELECT one.name, one.version, one.source, tag.value "
            "FROM model_versions AS one JOIN model_version_tags AS tag "
            "ON tag.name = one.name AND tag.version = one.version "
            "WHERE tag.key = ? AND one.current_stage != 'Deleted_Internal'",
            (MANIFEST_TAG,),
        ).fetchall()


def _damaged_model(model: str, version: int, problem: str) -> SultanaError:
    return SultanaError(
        f"{model} version {version} is damaged: {problem}",
        "Run `sultana doctor`; restore its artifacts from an earlier backup, or delete the version",
        code="backup-of-damage",
    )

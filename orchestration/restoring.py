"""`sultana restore`: a backup put into an empty data folder, every file checked before and while it is copied.

A file marks the folder while this lasts, and the commit log comes last: what is half restored is used by nobody.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console

from orchestration.dead_runs import UNFINISHED
from orchestration.diagnosis.finding import mebibytes
from orchestration.instance import open_instance
from resources.backup_files import (
    MANIFEST,
    backups,
    check_backup,
    copy_verified,
    files_of,
    newest_whole,
    read_manifest,
)
from resources.data_format import RESTORING
from resources.databases import LOG, REGISTRY, RUNS
from resources.definitions import data_folder
from resources.errors import SultanaError
from resources.files import disk_full_explained, exclusive_lock, sync_filesystem, sync_path, write_atomically
from resources.mlflow_moved import move_store
from resources.text import escape_terminal

MAY_BE_THERE = {"models", "lost+found", RESTORING, ".restore.lock"}
"""What a data folder may hold before: base models are in no backup."""

ENDED = "It was in progress when the backup was made that this data folder was restored from."


def restore(place: Path) -> dict[str, Any]:
    """Put a backup, or the newest of a folder of backups, into the empty data folder; what was done, as JSON values.

    Raises SultanaError, with nothing written, where the backup is not whole or the data folder is not empty.
    """
    root = data_folder()
    backup = _chosen(place.expanduser().resolve())
    manifest = read_manifest(backup)
    files = files_of(manifest)
    _check_empty(root, backup)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with disk_full_explained(root), exclusive_lock(root / ".restore.lock", 1.0):
        _check_empty(root, backup)
        check_backup(backup, files)
        _check_room(root, sum(size for size, _ in files.values()))
        root.chmod(0o700)
        write_atomically(root / RESTORING, json.dumps({"backup": str(backup)}).encode())
        for path, expected in files.items():
            if path != LOG:
                copy_verified(backup / path, root / path, expected)
        moved = 0
        if REGISTRY in files:
            moved = move_store(root / REGISTRY, Path(manifest["data_folder"]), root)
        copy_verified(backup / LOG, root / LOG, files[LOG])
        sync_filesystem(root)
        (root / RESTORING).unlink()
        sync_path(root)
    (root / ".restore.lock").unlink()
    return {
        "data_folder": str(root),
        "backup": str(backup),
        "created_at": manifest["created_at"],
        "files": len(files),
        "bytes": sum(size for size, _ in files.values()),
        "moved_places": moved,
        "ended_runs": _end_runs(root) if RUNS in files else [],
        "not_in_it": manifest["not_in_it"],
    }


def show_restored(found: Mapping[str, Any], console: Console) -> None:
    """Prints what was restored, which runs were ended, and what is still missing."""
    told = [
        f"Restored: {found['data_folder']}: {found['files']:,} files, {mebibytes(found['bytes'])}, of the backup made "
        f"at {found['created_at']}"
    ]
    if found["ended_runs"]:
        told.append(
            f"Runs that were in progress then, and count as failed now: {', '.join(found['ended_runs'])}"
        )
    told += [f"Not in it: {one}" for one in found["not_in_it"]]
    told.append("Now verify it: sultana doctor, and sultana audit MODEL --verify")
    for line in told:
        console.print(escape_terminal(line), markup=False, soft_wrap=True)


def _chosen(place: Path) -> Path:
    if (place / MANIFEST).is_file():
        return place
    found = newest_whole(place) if place.is_dir() else None
    if found is None:
        raise SultanaError(
            f"{place} holds no whole backup",
            "Give the folder that `sultana backup` was given, or one of the backups in it",
            code="backup-missing",
        )
    if found != next(backups(place)):
        raise SultanaError(
            f"The newest backup in {place}, {next(backups(place)).name}, is not whole",
            f"To restore the one before it, name it: sultana restore {found}",
            code="backup-torn",
        )
    return found


def _check_empty(root: Path, backup: Path) -> None:
    marker = root / RESTORING
    if marker.exists():
        if json.loads(marker.read_bytes()).get("backup") == str(backup):
            return
        raise SultanaError(
            f"Another backup was being restored into {root}, and that did not end",
            "Empty the folder, or restore that backup again",
            code="restore-unfinished",
        )
    there = sorted(path.name for path in root.glob("*") if path.name not in MAY_BE_THERE)
    if there:
        raise SultanaError(
            f"The data folder {root} is not empty: it holds {', '.join(there[:3])}",
            "Move it away, or set SULTANA_DATA to a new folder: a backup is never mixed with what is there",
            code="data-folder-not-empty",
        )


def _check_room(root: Path, size: int) -> None:
    if (free := shutil.disk_usage(root).free) < size:
        raise SultanaError(
            f"The backup takes {mebibytes(size)}, and only {mebibytes(free)} are free where {root} lies",
            "Free some space, or set SULTANA_DATA to a folder on another disk",
            code="disk-full",
        )


def _end_runs(root: Path) -> list[str]:
    """Ends the runs that were in progress when the backup was made; their ids."""
    with open_instance(root) as instance:
        unfinished = instance.get_runs(
            filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED, *UNFINISHED])
        )
        for run in unfinished:
            instance.report_run_failed(run, ENDED)
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        return sorted(run.run_id for run in unfinished)

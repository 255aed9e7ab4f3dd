"""MLflow's database keeps where its artifacts lie as whole paths: rewritten where a store was put elsewhere."""

import contextlib
import sqlite3
from pathlib import Path

PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""The tables and columns that hold a place of artifacts."""


def move_store(database: Path, before: Path, now: Path) -> int:
    """Let everything in the database that lies below the folder `before` lie below `now`; how many places changed.

    Nothing else may have the database open.
    """
    changed = 0
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, columns in PLACES.items():
            for column in columns:
                for scheme in ("", "file://"):
                    old, new = f"{scheme}{before}/", f"{scheme}{now}/"
                    changed += connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, len(old), old),
                    ).rowcount
    return changed

"""What mends MLflow's store without touching a registered version."""

import contextlib
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import SultanaError
from resources.files import sync_path
from resources.findings import Repair
from resources.object_folder import ObjectFolder
from resources.object_store import SCHEME
from resources.sqlite_files import beside

if TYPE_CHECKING:
    from resources.tracking import Tracking

_HOLDS_WORK = ("runs", "registered_models", "model_versions", "logged_models")


def is_half_made(database: Path) -> bool:
    """Whether a database is one that MLflow began to make: readable, without a schema's version or any work."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
        ) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if any(
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
                for table in _HOLDS_WORK
                if table in names
            ):
                return False
            made = (
                "alembic_version" in names and connection.execute("SELECT 1 FROM alembic_version").fetchone()
            )
            return not made or not names.issuperset(_HOLDS_WORK)
    except sqlite3.Error:
        return False


def remove_half_made(tracking: "Tracking") -> Repair:
    """For a database that was not made to its end."""
    database = tracking.database
    assert database is not None

    def mend() -> None:
        if database.exists() and not is_half_made(database):
            raise SultanaError(
                f"{database} was written since it was examined",
                "Run `sultana doctor` again",
                code="written-meanwhile",
            )
        for path in (*beside(database), database):
            path.unlink(missing_ok=True)
        sync_path(database.parent)

    return Repair(f"remove {database}: it is made again on first use", mend)


def end_publication(tracking: "Tracking", run_id: str, models: Sequence[str]) -> Repair:
    """For the run of a publication whose process is gone, and the models that it stored and did not register."""

    def mend() -> None:
        _remove_models(tracking, models)
        with tracking.client() as client:
            client.set_terminated(run_id, "KILLED")

    stored = f", and remove the {len(models)} models that it had begun to store" if models else ""
    return Repair(f"end MLflow run {run_id} as killed{stored}", mend)


def remove_models(tracking: "Tracking", models: Sequence[str]) -> Repair:
    """For models of a publication that has ended without registering them."""
    return Repair(
        f"remove {len(models)} models without a version: {', '.join(models[:3])}",
        lambda: _remove_models(tracking, models),
    )


def _remove_models(tracking: "Tracking", models: Sequence[str]) -> None:
    sources = {str(version.source) for name in tracking.models() for version in tracking.versions(name)}
    for model in models:
        if any(model in source for source in sources):
            raise SultanaError(
                f"The model {model} was registered since it was examined",
                "Run `sultana doctor` again",
                code="written-meanwhile",
            )
        with tracking.client() as client:
            place = str(client.get_logged_model(model).artifact_location)
            client.delete_logged_model(model)
        if place.startswith(SCHEME):
            stored = ObjectFolder(place)
            stored.remove([one.path for one in stored.files()])
        for folder in tracking.folder.glob(f"artifacts/*/models/{model}"):
            shutil.rmtree(folder)

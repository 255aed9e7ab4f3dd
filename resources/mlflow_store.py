"""MLflow's own store: created once, to the side and under a lock; opened without noise.

MLflow migrates a new SQLite database step by step and in place: a kill meanwhile, or two processes at
once, leave one that no later start can use.
"""

import contextlib
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from resources.environment import SAFE_DEFAULTS
from resources.errors import SultanaError
from resources.files import disk_full_explained, exclusive_lock, made_aside
from resources.object_folder import ObjectFolder
from resources.object_store import require_package, store_explained
from resources.sqlite_files import refuse_left_log

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
# Long enough for a first start on a slow, busy machine.
_CREATION_TIMEOUT = 180.0


def sqlite_path(uri: str) -> Path | None:
    """The database file of a `sqlite:///` address; None for any other address."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def quiet_mlflow() -> None:
    """Keep MLflow's and Alembic's notices of a start off the terminal; warnings and errors stay."""
    for name, value in SAFE_DEFAULTS.items():
        if name.startswith("MLFLOW_"):  # MLflow reads them on import
            os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from sqlalchemy.exc import SADeprecationWarning

    # MLflow 3.17 uses an option of SQLAlchemy that 2.1 deprecates; nothing a user could change.
    warnings.filterwarnings("ignore", category=SADeprecationWarning)


def create_database(database: Path, artifacts: Path) -> None:
    """Create MLflow's SQLite database (write-ahead log) with `artifacts` as its root, unless it exists."""
    if database.exists():
        return
    with exclusive_lock(database.with_name(f".{database.name}.lock"), _CREATION_TIMEOUT):
        if database.exists():
            return
        refuse_left_log(database)
        quiet_mlflow()
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        quiet_mlflow()  # importing MLflow sets its own log level
        with made_aside(database) as temporary:
            SqlAlchemyStore(f"{_SQLITE}{temporary}", str(artifacts)).engine.dispose()
            with contextlib.closing(sqlite3.connect(temporary)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")


def create_tables(uri: str, artifacts: Path) -> None:
    """Create MLflow's tables in the database of a server, with `artifacts` as its root, where they are missing.

    Under a lock beside `artifacts`: MLflow's own is on one machine's temporary folder, which containers do
    not share. Raises SultanaError where the server does not answer.
    """
    with exclusive_lock(artifacts.with_name(".tables.lock"), _CREATION_TIMEOUT):
        quiet_mlflow()
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        quiet_mlflow()
        with mlflow_explained(uri, artifacts.parent):
            SqlAlchemyStore(uri, str(artifacts)).engine.dispose()


def connect(uri: str) -> "MlflowClient":
    """A client of the store at `uri`, which also becomes the process's default.

    The default is needed: MLflow resolves `models:/...` through it, whatever client asks.
    """
    quiet_mlflow()
    import mlflow

    quiet_mlflow()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def exists_already(error: Exception) -> bool:
    """Whether MLflow says that what was to be created exists."""
    return getattr(error, "error_code", "") == "RESOURCE_ALREADY_EXISTS"


@contextlib.contextmanager
def artifacts_explained(uri: str) -> Iterator[None]:
    """Where the object store of the artifacts, if there is one, cannot be reached, a SultanaError about that."""
    if not uri:
        yield
        return
    require_package()
    from boto3.exceptions import Boto3Error
    from mlflow.exceptions import MlflowException

    with store_explained(uri):
        try:
            yield
        except (Boto3Error, MlflowException):  # whose texts hide what the store said
            ObjectFolder(uri).probe()
            raise


@contextlib.contextmanager
def mlflow_explained(uri: str, folder: Path) -> Iterator[None]:
    """Turn MLflow's errors, and a full disk, into a SultanaError that names the store."""
    from mlflow.exceptions import MlflowException

    with disk_full_explained(folder):
        try:
            yield
        except MlflowException as error:
            raise SultanaError(
                f"MLflow at {uri} failed: {str(error).splitlines()[0][:300]}",
                "Check that the store is reachable and writable and that what you named exists; "
                "`sultana doctor` examines it",
                code="mlflow-failed",
            ) from error

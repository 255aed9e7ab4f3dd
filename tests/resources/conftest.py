"""What the tests of the registry share: an MLflow store that was created once."""

import shutil
from pathlib import Path

import pytest

from resources.mlflow_store import create_database
from resources.tracking import Tracking


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    create_database(folder / "mlflow.db", folder / "artifacts")
    return folder / "mlflow.db"


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path) -> Tracking:
    """An empty store of this test."""
    (tmp_path / "tracking").mkdir()
    shutil.copy(empty_database, tmp_path / "tracking" / "mlflow.db")
    return Tracking(None, tmp_path / "tracking")

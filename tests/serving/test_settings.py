"""Which store a deployment uses is said by the environment; what cannot be used is refused at once."""

from pathlib import Path

import pytest
import yaml

from orchestration.instance import POSTGRES, POSTGRES_STORAGE, prepare_instance
from resources.definitions import TRACKING_URI, ModelRegistry, Storage
from resources.errors import SultanaError


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql+psycopg2://sultana:secret@db/dagster", "password"),
        ("postgresql://sultana@db/dagster", "no driver"),
        ("mysql://sultana@db/dagster", "no address of a PostgreSQL database"),
        ("postgresql+psycopg2://[db/dagster", "no address"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, told: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv(POSTGRES, address)
    with pytest.raises(SultanaError, match=told) as refused:
        prepare_instance(tmp_path / "data")
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("postgresql+psycopg2://sultana:secret@db/mlflow", "PGPASSWORD"),
        ("https://sultana:secret@mlflow.example", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_a_tracking_address_with_a_password_is_refused_and_not_shown(
    tmp_path: Path, address: str, remedy: str
) -> None:
    with pytest.raises(SultanaError, match=remedy) as refused:
        ModelRegistry(tracking_uri=address).open(Storage(folder=str(tmp_path)))
    assert "secret" not in str(refused.value)


def test_the_environment_names_the_tracking_store_and_a_setting_overrides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(folder=str(tmp_path))
    assert ModelRegistry().open(storage).uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    monkeypatch.setenv(TRACKING_URI, "postgresql+psycopg2://sultana@db/mlflow")
    assert ModelRegistry().open(storage).uri == "postgresql+psycopg2://sultana@db/mlflow"
    assert ModelRegistry(tracking_uri="https://other").open(storage).uri == "https://other"


def test_the_settings_hold_the_name_of_the_variable_and_never_its_value() -> None:
    storage = yaml.safe_load(POSTGRES_STORAGE)["storage"]
    assert storage == {"postgres": {"postgres_url": {"env": POSTGRES}}}

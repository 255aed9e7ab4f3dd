"""What the tests of object stores share: a real store on loopback, and tables in a prefix of their own."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.tables import LanceTables
from tests.object_store.store import BUCKET, Store, start_store


@pytest.fixture(scope="session")
def running_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    for package in ("boto3", "moto", "flask_cors"):
        pytest.importorskip(package, reason="needs what `make install` brings: sultana[dev]")
    with start_store(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def store(running_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, which this process and those that it starts are set up for."""
    for name, value in running_store.settings.items():
        monkeypatch.setenv(name, value)
    return running_store


@pytest.fixture
def uri(store: Store) -> str:
    """An empty place in it."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def tables(uri: str, tmp_path: Path) -> LanceTables:
    return LanceTables(tmp_path / "lance", uri=uri)

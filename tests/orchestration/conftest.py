"""What tests of refreshes share: a deployment in which everything was made once, and is fresh again after each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestration.deployment import Deployment


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Iterator[Deployment]:
    """Every asset made once, with one strategy and seed."""
    made = Deployment(tmp_path_factory.mktemp("staleness"))
    made.folder.mkdir()
    (made.folder / "models").symlink_to(models_folder, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SULTANA_DATA", str(made.folder))
        made.run()
        yield made


@pytest.fixture
def fresh(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A copy in which all is fresh, for a test to change; the rows of the source are as they were after it."""
    made = deployment.copied(tmp_path / "fresh")
    monkeypatch.setenv("SULTANA_DATA", str(made.folder))
    rows = made.source.read_bytes()
    yield made
    made.source.write_bytes(rows)

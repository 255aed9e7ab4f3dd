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
def fresh(deployment: Deployment) -> Iterator[Deployment]:
    """All fresh before a test, and made again with the first settings and rows after it."""
    assert deployment.stale() == set()
    rows = deployment.source.read_bytes()
    yield deployment
    deployment.source.write_bytes(rows)
    deployment.run()
    assert deployment.stale() == set()

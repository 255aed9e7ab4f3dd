"""What the tests of exports share: one small real run, and tables made by hand."""

from pathlib import Path

import pytest
from rich.console import Console
from small_tables import Small


@pytest.fixture(scope="session")
def curated_data(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Path:
    """A data folder in which `sultana run --preset smoke --strategy random --to curriculum` has run."""
    from orchestration.run import Request, run_request

    folder = tmp_path_factory.mktemp("curated")
    (folder / "models").symlink_to(models_folder, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch, open(folder / "console.txt", "w") as output:
        patch.setenv("SULTANA_DATA", str(folder))
        request = Request(preset="smoke", strategies=("random",), seeds=(0,), to="curriculum")
        run_request(request, Console(file=output))
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Tables made by hand."""
    return Small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def registered_data(curated_data: Path) -> Path:
    """The same folder, in which that curriculum's checkpoint is registered and evaluated as well."""
    from orchestration.run import Request, run_request

    with pytest.MonkeyPatch.context() as patch, open(curated_data / "console.txt", "a") as output:
        patch.setenv("SULTANA_DATA", str(curated_data))
        for target in ("evaluation", "baseline_evaluation"):
            request = Request(preset="smoke", strategies=("random",), seeds=(0,), to=target)
            run_request(request, Console(file=output))
    return curated_data

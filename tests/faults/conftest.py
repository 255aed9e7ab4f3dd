"""What tests of faults share: the seed, which is printed, and places that tests may break."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import counts

MEMORY = Path("/dev/shm")


def pytest_report_header() -> str:
    return f"faults: {counts.SEED_VARIABLE}={counts.SEED}"


@pytest.fixture
def quick_disk() -> Iterator[Path]:
    """A folder in memory where there is one: what a kill leaves does not depend on the disk."""
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sultana-faults-", dir=place, ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def kept_on_failure(request: pytest.FixtureRequest, quick_disk: Path, tmp_path: Path) -> Iterator[Path]:
    """The same; its content is copied to the test's own folder where the test fails."""
    failed_before = request.session.testsfailed
    yield quick_disk
    if request.session.testsfailed > failed_before:
        shutil.copytree(quick_disk, tmp_path / "as-it-was", symlinks=True, dirs_exist_ok=True)

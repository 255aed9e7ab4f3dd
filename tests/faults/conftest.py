"""What tests of faults share: the seed, which is printed, places that tests may break, and a whole data folder."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import counts

MEMORY = Path("/dev/shm")
ROOT = Path(__file__).parent.parent.parent
MAKE = "import sys; from pathlib import Path; from tests.faults.scene import make; make(Path(sys.argv[1]))"


def pytest_report_header() -> str:
    return f"faults: {counts.SEED_VARIABLE}={counts.SEED}"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole data folder, made by a process that has ended: nobody has its databases open."""
    data = tmp_path_factory.mktemp("whole") / "data"
    subprocess.run([sys.executable, "-c", MAKE, str(data)], cwd=ROOT, check=True, timeout=300)
    return data


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

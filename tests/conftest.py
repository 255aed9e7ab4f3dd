"""What tests share: a data folder of their own, the converted language model, and no pickle read by anyone."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Threads of processes that share the cores wait for one another by turning: with two times two, all takes three times
# as long.
os.environ["OMP_NUM_THREADS"] = str(max(1, 2 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))

_WATCH = str(Path(__file__).parent / "watch")
sys.path.insert(0, _WATCH)
import pickle_watch  # noqa: E402 - its folder has just been named

os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_WATCH, os.environ.get("PYTHONPATH")]))
os.environ[pickle_watch.FOLDER] = _NOTES = tempfile.mkdtemp(prefix="pickles-")
pickle_watch.install()


@pytest.fixture(autouse=True)
def no_pickle_is_read() -> Iterator[None]:
    """Fails a test during which a pickle was read, in this process or in one that the tests started."""
    yield
    if refused := pickle_watch.take_notes(_NOTES):
        pytest.fail("\n\n".join(refused))


# Their tests share what takes long to make: a deployment with a registered model, servers, a browser.
TOGETHER = {"lineage", "web", "ui", "serving", "diversity"}


class _InGroups(LoadScopeScheduling):
    """Where several processes run the tests, those of a file, or of a folder that shares much, run in one of them."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = Path(file).parent.name
        return folder if folder in TOGETHER else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _InGroups(config, log)


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embedded language model, converted once for all processes that run tests (about 10 s)."""
    from resources.language_model import LanguageModel

    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "models"
    LanguageModel(folder=folder).files()
    return folder


@pytest.fixture
def data(tmp_path: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data folder that `SULTANA_DATA` names, with the converted model in its place."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "models").symlink_to(models_folder, target_is_directory=True)
    monkeypatch.setenv("SULTANA_DATA", str(folder))
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    yield folder


@pytest.fixture
def shared_data() -> Path:
    """Real instruction sets, where the environment names a folder of them."""
    folder = os.environ.get("SULTANA_SHARED_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SULTANA_SHARED_DATA names no folder of real instruction sets")
    return Path(folder)

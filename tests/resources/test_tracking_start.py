"""The first start of MLflow: several processes at once, and a kill during it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resources.tracking import Tracking

ROOT = Path(__file__).parents[2]

FIRST_START = """
import sys
from pathlib import Path
from resources.tracking import Tracking
folder, files, key = sys.argv[1:]
Tracking(None, Path(folder)).publish(
    name="m", idempotency_key=key, files=Path(files), parameters={}, step_metrics=[], inputs=[], tags={},
    aliases=[])
"""


@pytest.mark.slow
def test_four_first_starts_at_once_and_in_silence(tmp_path: Path) -> None:
    folder, adapter = tmp_path / "new", tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "weights").write_bytes(b"weights")
    command = [sys.executable, "-c", FIRST_START, str(folder), str(adapter)]
    writers = [
        subprocess.Popen([*command, str(n)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for n in range(4)
    ]
    assert [writer.communicate()[0] for writer in writers] == [b""] * 4
    assert [writer.returncode for writer in writers] == [0] * 4
    tracking = Tracking(None, folder)
    assert len(tracking.versions("m")) == 4 and tracking.check() == []
    with tracking.client() as client:
        assert len(client.search_experiments(filter_string="name = 'sultana'")) == 1


def test_a_kill_during_the_first_start_leaves_nothing_half_made(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from resources import files, mlflow_store\n"
        "files.sync_path = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "mlflow_store.create_database(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    database = tmp_path / "mlflow.db"
    command = [sys.executable, "-c", script, str(database), str(tmp_path / "artifacts")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert not database.exists()
    assert Tracking(None, tmp_path).versions("m") == []

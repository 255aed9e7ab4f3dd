"""A run that is killed in training goes on, and ends with the same weights as one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assets.materialized import require
from orchestration.dead_runs import PROCESS_TAG
from orchestration.instance import open_instance

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = "ops: {curriculum: {config: {steps: 10}}, checkpoint: {config: {save_every: 2, processes: %d}}}"


def start(data: Path, config: Path) -> subprocess.Popen[bytes]:
    arguments = [
        "run",
        "--preset",
        "smoke",
        "--config",
        str(config),
        "--strategy",
        "random",
        "--to",
        "checkpoint",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", *arguments],
        cwd=PROJECT,
        env={**os.environ, "SULTANA_DATA": str(data)},
        stdout=subprocess.DEVNULL,
    )


# The loop itself is killed and resumed by tests/finetuning/test_loop.py at every run of the suite.
@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_training_ends_with_the_same_weights(
    tmp_path: Path, models_folder: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if processes > 1:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # two, whatever the machine has
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG % processes)
    folders = [tmp_path / "killed", tmp_path / "whole"]
    for folder in folders:
        folder.mkdir()
        (folder / "models").symlink_to(models_folder, target_is_directory=True)
    killed, whole = folders

    process = start(killed, config)
    while not list(killed.glob("checkpoints/*/step-00000004")):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for folder in folders:
        assert start(folder, config).wait(timeout=240) == 0
    with open_instance(killed) as instance:
        statuses = sorted(run.status.value for run in instance.get_runs() if PROCESS_TAG in run.tags)
    assert statuses == ["FAILURE", "SUCCESS", "SUCCESS", "SUCCESS"]

    made = []
    for folder in folders:
        with open_instance(folder) as instance:
            made.append(require(instance, "checkpoint", "0|random"))
    assert int(made[0].metadata["resumed_from_step"].value) >= 4  # type: ignore[arg-type]
    assert made[1].metadata["resumed_from_step"].value == 0
    assert (
        made[0].record["facts"]["files_manifest_sha256"] == made[1].record["facts"]["files_manifest_sha256"]
    )
    assert made[0].data_version == made[1].data_version

"""R9: trainings that are killed at random instants and resumed end with the weights of one that never was, bit for bit.

What each part of a session's state is for is held by tests/finetuning/test_resume_parts.py; here are real kills, over
several settings, and the parts that belong to the run around the session.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load, save
from small_models import random_row, tiny_llama

from assets.finetuning import checkpoints
from assets.finetuning.checkpoints import CheckpointFolder
from assets.finetuning.loop import EarlyStopping, TrainingResult, train
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import StepMetrics, TrainingRow
from tests.faults.counts import SEED, tell
from tests.faults.launched import PROJECT, kills

KILLS_OF_ONE = 3
STEPS = 12
BEST = 4
SETTINGS = (
    {"rank": 4, "dropout": 0.2, "learning_rate": 1e-2, "micro_batch": 2},
    {"rank": 2, "dropout": 0.1, "learning_rate": 3e-3, "micro_batch": 3, "weight_decay": 0.1},
    {"rank": 4, "dropout": 0.0, "learning_rate": 1e-2, "micro_batch": 1},
    {"rank": 8, "dropout": 0.3, "learning_rate": 1e-3, "micro_batch": 4, "seed": 7},
)


def measured(session: TrainingSession) -> float:
    """In place of a loss of held-out rows: the best comes early, and the training stops before its end."""
    return abs(session.step_number - BEST)


def trained(
    folder: Path, number: int, on_step: Callable[[StepMetrics], None] | None = None
) -> dict[str, Any]:
    """The training of this number, from wherever it was: hash of the weights, and what its run remembers."""
    batches = []
    for step in range(STEPS):
        rows = [random_row(number * 1000 + step * 10 + n) for n in range(4)]
        mixed = TrainingRow("mix", (rows[0], rows[1]), 0.4, 0.5)
        batches.append([*(TrainingRow(row.row_id, (row,)) for row in rows), mixed])
    config = TrainingConfig(**SETTINGS[number % len(SETTINGS)])  # type: ignore[arg-type]
    session = TrainingSession((tiny_llama(), None), config, STEPS)
    rule = EarlyStopping(every=2, patience=3, measure=measured) if number % 2 else None
    result: TrainingResult = train(session, batches, folder, every=2, early_stopping=rule, on_step=on_step)
    tensors = session.state_dict()["tensors"]
    return {
        "weights": hashlib.sha256(save(dict(sorted(tensors.items())))).hexdigest(),
        "losses": [step.loss for step in result.steps],
        "measures": result.measures,
        "best": result.best_step,
        "stopped": result.stopped_early,
        "resumed": result.resumed_from,
    }


PARENT = """
import json, os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from pathlib import Path
import peft, transformers.models.llama.modeling_llama
from tests.faults.test_resume_exact import KILLS_OF_ONE, trained
root, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)

def forked(folder, number):
    child = os.fork()
    if child == 0:
        try:
            print(json.dumps(trained(folder, number)), flush=True)
            os._exit(0)
        finally:
            os._exit(1)
    return child

for number in range(count):
    began = time.monotonic()
    assert os.waitpid(forked(root / f"whole-{number}", number), 0)[1] == 0
    takes = time.monotonic() - began
    killed = 0
    for _ in range(KILLS_OF_ONE):
        child = forked(root / f"killed-{number}", number)
        time.sleep(draw.uniform(0.1, 0.8) * takes)
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    print(json.dumps({"killed": killed}), flush=True)
    assert os.waitpid(forked(root / f"killed-{number}", number), 0)[1] == 0
"""


@pytest.mark.slow
def test_killed_trainings_end_as_those_that_were_not(tmp_path: Path) -> None:
    count = max(1, kills(12) // KILLS_OF_ONE)
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path), str(SEED), str(count)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests/finetuning'}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    cut_short = resumed = 0
    for number in range(count):
        # A kill that came after the end of its training leaves a line of that training's own.
        end = next(n for n, one in enumerate(told) if n > 0 and "resumed" in one and "killed" in told[n - 1])
        whole, killed, last = told[0], told[end - 1]["killed"], told[end]
        assert whole.pop("resumed") is None
        cut_short += killed
        resumed += last.pop("resumed") is not None
        assert last == whole, f"seed {SEED}, training {number}"
        told = told[end + 1 :]
    assert not told and cut_short > count * KILLS_OF_ONE // 2 and resumed >= count // 2
    tell(f"seed {SEED}: {count} of {count} trainings equal over {cut_short} kills")


class _Killed(Exception):
    pass


def killed_after(steps: int) -> Callable[[StepMetrics], None]:
    def on_step(metrics: StepMetrics) -> None:
        if metrics.step + 1 == steps:
            raise _Killed

    return on_step


def forget_best(run: dict[str, Any]) -> None:
    run["best"] = None


def forget_measures(run: dict[str, Any]) -> None:
    run["measures"] = []


def forget_history(run: dict[str, Any]) -> None:
    run["history"] = []


def forget_the_stop(run: dict[str, Any]) -> None:
    run["stopped"] = not run["stopped"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The training with early stopping that nothing cut short."""
    return trained(tmp_path_factory.mktemp("whole"), 1)


@pytest.mark.parametrize("forget", [None, forget_best, forget_measures, forget_history, forget_the_stop])
def test_each_part_that_the_run_remembers_matters(
    tmp_path: Path, uninterrupted: dict[str, Any], forget: Callable[[dict[str, Any]], None] | None
) -> None:
    whole = dict(uninterrupted)
    assert whole["best"] == BEST and whole["stopped"]
    with pytest.raises(_Killed):
        trained(tmp_path / "killed", 1, killed_after(BEST + 3))
    folder = CheckpointFolder(tmp_path / "killed")
    newest = folder.all()[-1]
    if forget is not None:
        state = json.loads((newest.folder / checkpoints.NUMBERS).read_text())
        forget(state["run"])
        digest = json.loads((newest.folder / checkpoints.DONE).read_text())["digest"]
        tensors = load((newest.folder / checkpoints.STATE).read_bytes())
        (newest.folder / checkpoints.DONE).unlink()  # torn, so that it is written again
        folder.save(newest.step, {"tensors": tensors, "numbers": state}, digest)
    found = trained(tmp_path / "killed", 1)
    assert found.pop("resumed") == newest.step and whole.pop("resumed") is None
    assert (found == whole) == (forget is None)

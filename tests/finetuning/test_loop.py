import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from assets.finetuning.encoding import ChatEncoder, Encoded
from assets.finetuning.loop import EarlyStopping, batches_digest, train
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import StepMetrics, TrainingRow
from resources.errors import SultanaError
from resources.files import exclusive_lock
from resources.language_model import LanguageModel

CONFIG = TrainingConfig(rank=4, dropout=0.1, learning_rate=1e-2, micro_batch=2)
STEPS = 8
MakeModel = Callable[..., Any]
MakeRow = Callable[..., Encoded]
PROJECT = Path(__file__).resolve().parents[2]


class _Killed(Exception):
    pass


def kill_after(steps: int) -> Callable[[StepMetrics], None]:
    def on_step(metrics: StepMetrics) -> None:
        if metrics.step + 1 == steps:
            raise _Killed

    return on_step


def weights_digest(session: TrainingSession) -> str:
    tensors = session.state_dict()["tensors"]
    return hashlib.sha256(save(dict(sorted(tensors.items())))).hexdigest()


@pytest.fixture
def batches(make_row: MakeRow) -> list[list[TrainingRow]]:
    found = []
    for step in range(STEPS):
        rows = [make_row(step * 10 + n) for n in range(4)]
        batch = [TrainingRow(row.row_id, (row,)) for row in rows]
        batch.append(TrainingRow("mix", (rows[0], rows[1]), 0.4, 0.5))
        found.append(batch)
    return found


def session_of(make_model: MakeModel, config: TrainingConfig = CONFIG, steps: int = STEPS) -> TrainingSession:
    return TrainingSession((make_model(), None), config, steps)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    make_model: MakeModel, batches: list[list[TrainingRow]], tmp_path: Path
) -> None:
    whole = session_of(make_model)
    expected = train(whole, batches, tmp_path / "whole", every=3)
    assert expected.resumed_from is None and expected.best_step == STEPS and len(expected.steps) == STEPS
    for steps, resumed_from in ((2, None), (5, 3), (7, 6)):
        folder = tmp_path / f"killed-{steps}"
        with pytest.raises(_Killed):
            train(session_of(make_model), batches, folder, every=3, on_step=kill_after(steps))
        session = session_of(make_model)
        result = train(session, batches, folder, every=3)
        assert result.resumed_from == resumed_from
        assert weights_digest(session) == weights_digest(whole)
        assert [step.loss for step in result.steps] == [step.loss for step in expected.steps]
        assert result.tokens == expected.tokens


def test_a_finished_training_is_not_repeated(
    make_model: MakeModel, batches: list[list[TrainingRow]], tmp_path: Path
) -> None:
    first = session_of(make_model)
    train(first, batches, tmp_path, every=100)
    seen: list[StepMetrics] = []
    again = session_of(make_model)
    result = train(again, batches, tmp_path, every=100, on_step=seen.append)
    assert not seen and result.resumed_from == STEPS and weights_digest(again) == weights_digest(first)
    assert [step["step"] for step in result.step_metrics()] == list(range(STEPS))


def test_other_settings_or_data_are_refused(
    make_model: MakeModel, batches: list[list[TrainingRow]], tmp_path: Path
) -> None:
    train(session_of(make_model), batches, tmp_path, every=4)
    other_config = session_of(make_model, replace(CONFIG, learning_rate=2e-2))
    with pytest.raises(SultanaError, match="another configuration"):
        train(other_config, batches, tmp_path, every=4)
    changed = [list(batch) for batch in batches]
    changed[-1][0] = replace(changed[-1][0], weight=0.9)
    assert batches_digest(changed) != batches_digest(batches)
    for other in ({"alignment": "start"}, {"layer": 1}, {"mixing": 0.3}):
        mixed = [[*batches[0][:-1], replace(batches[0][-1], **other)], *batches[1:]]
        assert batches_digest(mixed) != batches_digest(batches)
    with pytest.raises(SultanaError, match="another configuration"):
        train(session_of(make_model), changed, tmp_path, every=4)
    with pytest.raises(SultanaError, match="8 batches for 9 steps"):
        train(session_of(make_model, steps=9), batches, tmp_path, every=4)


def test_rows_that_the_model_cannot_mix_are_refused_before_any_work(
    make_model: MakeModel, batches: list[list[TrainingRow]], tmp_path: Path
) -> None:
    batches[-1][-1] = replace(batches[-1][-1], layer=9)
    steps: list[StepMetrics] = []
    with pytest.raises(SultanaError, match="mixed at layer 9"):
        train(session_of(make_model), batches, tmp_path / "made", every=4, on_step=steps.append)
    assert not steps and not (tmp_path / "made").exists()


def test_one_process_at_a_time_trains_in_a_folder(
    make_model: MakeModel, batches: list[list[TrainingRow]], tmp_path: Path
) -> None:
    with (
        exclusive_lock(tmp_path / ".lock"),
        pytest.raises(SultanaError, match="is held by process"),
    ):
        train(session_of(make_model), batches, tmp_path, every=4)


def test_early_stopping_keeps_the_best_weights_also_when_interrupted(
    make_model: MakeModel, batches: list[list[TrainingRow]], tmp_path: Path
) -> None:
    losses = {2: 1.0, 4: 0.5, 6: 0.6, 8: 0.7}
    rule = EarlyStopping(every=2, patience=1, measure=lambda session: losses[session.step_number])
    session = session_of(make_model)
    result = train(session, batches, tmp_path / "a", every=100, early_stopping=rule)
    assert result.stopped_early and result.best_step == 4 and len(result.steps) == 6
    assert result.measures == ((2, 1.0), (4, 0.5), (6, 0.6))
    with pytest.raises(_Killed):
        train(
            session_of(make_model),
            batches,
            tmp_path / "b",
            every=1,
            keep=1,
            early_stopping=rule,
            on_step=kill_after(6),
        )
    resumed = session_of(make_model)
    again = train(resumed, batches, tmp_path / "b", every=1, keep=1, early_stopping=rule)
    assert again.resumed_from == 5 and again.measures == result.measures
    assert weights_digest(resumed) == weights_digest(session)


def test_the_measure_before_the_first_step_is_shown_and_decides_nothing(
    make_model: MakeModel, batches: list[list[TrainingRow]], tmp_path: Path
) -> None:
    losses = {0: 0.1, 4: 1.0, 8: 0.9}
    rule = EarlyStopping(
        every=4, patience=2, measure=lambda session: losses[session.step_number], at_start=True
    )
    with pytest.raises(_Killed):
        train(
            session_of(make_model),
            batches,
            tmp_path,
            every=2,
            early_stopping=rule,
            on_step=kill_after(5),
        )
    result = train(session_of(make_model), batches, tmp_path, every=2, early_stopping=rule)
    assert result.measures == ((0, 0.1), (4, 1.0), (8, 0.9))  # not a second time where it goes on
    assert result.best_step == 8 and not result.stopped_early


KILLER = """
import os, random, signal, sys, time
sys.path[:0] = [{project!r}, {here!r}]
import torch
torch.set_num_threads(1)
from pathlib import Path
from small_models import random_row, tiny_llama
from test_loop import CONFIG, weights_digest
from assets.finetuning.loop import train
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_row import TrainingRow
import peft, transformers.models.llama.modeling_llama

def training(folder):
    batches = [[TrainingRow("r", (random_row(s * 10 + n),)) for n in range(4)] for s in range({steps})]
    session = TrainingSession((tiny_llama(), None), CONFIG, {steps})
    result = train(session, batches, Path(folder), every=1)
    print("weights", result.resumed_from, weights_digest(session), flush=True)

def forked(folder):
    child = os.fork()
    if child == 0:
        try:
            training(folder)
        finally:
            os._exit(0)
    return child

def newest(folder):
    return max((int(p.name[5:]) for p in Path(folder).glob("step-*")), default=0)

root = Path(sys.argv[1])
os.waitpid(forked(root / "whole"), 0)
draw, progress = random.Random(0), 0
for kill in range({kills}):
    child = forked(root / "killed")
    goal = progress + draw.randrange(1, 4)
    while newest(root / "killed") < goal and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(draw.uniform(0.0, 0.05))  # a moment into a step, or into a save
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    progress = newest(root / "killed")
    print("killed", os.WIFSIGNALED(status), progress, flush=True)
os.waitpid(forked(root / "killed"), 0)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_and_resume_gives_the_same_weights(tmp_path: Path) -> None:
    """Real SIGKILLs at random moments, in a process that forks each training from a warm start."""
    script, kills = tmp_path / "killer.py", 8
    script.write_text(
        KILLER.format(project=str(PROJECT), here=str(Path(__file__).parent), steps=60, kills=kills)
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=250,
        check=True,
    )
    whole, *killed, resumed = [line.split() for line in done.stdout.splitlines()]
    assert len(killed) == kills and all(line[1] == "True" for line in killed)
    assert all(0 < int(line[2]) < 60 for line in killed)  # each was in the middle of its work
    assert whole[1] == "None" and resumed[1] == killed[-1][2]
    assert resumed[2] == whole[2]


def test_the_embedded_model_learns_stops_and_resumes(models_folder: Path, tmp_path: Path) -> None:
    """The whole path on the real model: encode, train, be interrupted, resume bit for bit."""
    language_model = LanguageModel(folder=models_folder)
    config = TrainingConfig(layers=2, learning_rate=3e-3, maximum_length=64, seed=3)
    encoder = ChatEncoder(language_model.load_tokenizer())
    rows = [
        encoder.encode(
            f"r{n}",
            [
                {"role": "user", "content": f"What is the code of room {n}?"},
                {"role": "assistant", "content": f"Room {n} has code {n * 7 + 3}."},
            ],
            config.maximum_length,
        )
        for n in range(4)
    ]
    batches = [[TrainingRow(row.row_id, (row,)) for row in rows[:3]]] * 4
    batches[1] = [*batches[1], TrainingRow("mix", (rows[0], rows[3]), 0.7)]

    def session() -> TrainingSession:
        return TrainingSession(language_model.load(), config, 4, language_model.fingerprint())

    whole = session()
    expected = train(whole, batches, tmp_path / "whole", every=2)
    assert expected.steps[-1].loss < expected.steps[0].loss - 0.3
    with pytest.raises(_Killed):
        train(whole, batches, tmp_path / "killed", every=2, on_step=kill_after(3))
    resumed = session()
    result = train(resumed, batches, tmp_path / "killed", every=2)
    assert result.resumed_from == 2 and result.final_loss == expected.final_loss
    again = session()
    train(again, batches, tmp_path / "whole", every=2)  # finished: loads the end state
    assert weights_digest(resumed) == weights_digest(again)
    assert torch.isfinite(torch.tensor([step.gradient_norm for step in result.steps])).all()

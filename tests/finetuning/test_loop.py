import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from assets.finetuning.encoding import ChatEncoder, Encoded
from assets.finetuning.loop import EarlyStopping, batches_digest, train
from assets.finetuning.trainer import StepMetrics, TrainingConfig, TrainingRow, TrainingSession
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
    with pytest.raises(SultanaError, match="another configuration"):
        train(session_of(make_model), changed, tmp_path, every=4)
    with pytest.raises(SultanaError, match="8 batches for 9 steps"):
        train(session_of(make_model, steps=9), batches, tmp_path, every=4)


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


VICTIM = """
import sys
sys.path[:0] = [{project!r}, {here!r}]
import torch
torch.set_num_threads(1)
from pathlib import Path
from conftest import random_row, tiny_llama
from test_loop import CONFIG, weights_digest
from assets.finetuning.loop import train
from assets.finetuning.trainer import TrainingRow, TrainingSession
batches = [[TrainingRow("r", (random_row(s * 10 + n),)) for n in range(4)] for s in range({steps})]
session = TrainingSession((tiny_llama(), None), CONFIG, {steps})
print("ready", flush=True)
result = train(session, batches, Path(sys.argv[1]), every=1)
print("weights", weights_digest(session), flush=True)
"""


def test_kill_9_at_any_moment_and_resume_gives_the_same_weights(tmp_path: Path) -> None:
    """A real SIGKILL, at random moments: each run goes on from what the one before it left."""
    script = tmp_path / "victim.py"
    steps = 40
    script.write_text(VICTIM.format(project=str(PROJECT), here=str(Path(__file__).parent), steps=steps))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def start(folder: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    with start(tmp_path / "whole") as uninterrupted:
        expected = uninterrupted.communicate(timeout=200)[0].split()[-1]
    draw = random.Random(0)
    kills, outcome = 0, ""
    while kills < 3:
        with start(tmp_path / "killed") as victim:
            assert victim.stdout is not None and victim.stdout.readline() == "ready\n"
            before = len(list((tmp_path / "killed").glob("step-*")))
            # Until it has got somewhere, then a moment more: within a step, or within a save.
            deadline = time.monotonic() + 100
            while before == 0 and not list((tmp_path / "killed").glob("*")) and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(draw.uniform(0.0, 0.25))
            victim.send_signal(signal.SIGKILL)
            outcome = victim.communicate(timeout=100)[0]
        kills += 1
    with start(tmp_path / "killed") as last:
        outcome = last.communicate(timeout=200)[0]
    assert outcome.split()[-1] == expected


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

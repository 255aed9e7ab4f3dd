"""Two processes on one machine against one: real gloo, over the loopback. Launched ones: test_processes.py."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import random_row, tiny_llama, tiny_tokenizer

from assets.finetuning.devices import process_number, sum_numbers
from assets.finetuning.encoding import Encoded
from assets.finetuning.loop import EarlyStopping, train
from assets.finetuning.scoring import Example, response_loss
from assets.finetuning.sharding import Sharding
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import StepMetrics, TrainingRow
from assets.finetuning.weights import load_weights
from resources.errors import SultanaError

FULL = TrainingConfig(
    method="full", learning_rate=1e-3, micro_batch=2, gradient_clip=0.5, weight_decay=0.1, seed=3
)
CONFIGS = {
    "full": FULL,
    "lora": replace(FULL, method="lora", rank=4, learning_rate=1e-2),
    "packed": replace(FULL, packing=True),
    "symnoise": replace(FULL, noise="symnoise", noise_scale=0.0),
    "dropout": replace(FULL, method="lora", rank=4, dropout=0.5),
    "full, fsdp": FULL,
    "lora, fsdp": replace(FULL, method="lora", rank=4, learning_rate=1e-2, gradient_clip=0.0),
    "dora, fsdp": replace(FULL, method="dora", rank=4, learning_rate=1e-2, gradient_checkpointing=True),
    "packed, fsdp": replace(FULL, packing=True, micro_batch=1),
    "symnoise, fsdp": replace(FULL, noise="symnoise", noise_scale=0.0, detach_embeddings=True),
}
INTERRUPTED = ["dropout", "full, fsdp", "lora, fsdp"]
HELD_OUT = [Example(f"e{n}", "task", random_row(90 + n)) for n in range(3)]
AS_ONE = [name for name in CONFIGS if name != "dropout"]
STEPS = 3
MakeModel = Callable[..., Any]
MakeRow = Callable[..., Encoded]


def batches(make_row: MakeRow) -> list[list[TrainingRow]]:
    """Of odd sizes, the last of one row: a process then has none."""
    found = []
    for step, size in enumerate((5, 4, 1)):
        rows = [TrainingRow(f"r{n}", (make_row(step * 20 + n),)) for n in range(size)]
        if size > 1:
            pair = make_row(step * 20 + 8), make_row(step * 20 + 9)
            rows[1] = TrainingRow("m", pair, 0.3, 0.5)
            rows[2] = TrainingRow("k", pair, 0.6, layer=1)
        found.append(rows)
    return found


def session_of(
    name: str, sharding: Sharding | None = None, kind: type[TrainingSession] = TrainingSession
) -> TrainingSession:
    wanted: Sharding = "fsdp" if name.endswith("fsdp") else "none"
    return kind((tiny_llama(), tiny_tokenizer()), CONFIGS[name], STEPS, sharding=sharding or wanted)


def trained(session: TrainingSession) -> dict[str, Any]:
    first = session.gradients(batches(random_row)[0])
    steps = [session.step(batch) for batch in batches(random_row)]
    return {
        "gradients": first,
        "weights": session.state_dict()["tensors"],
        "losses": [step.loss for step in steps],
        "norms": [step.gradient_norm for step in steps],
        "tokens": [step.tokens for step in steps],
    }


class _Killed(Exception):
    pass


class _BrokenOff(TrainingSession):
    def step(self, rows: Sequence[TrainingRow]) -> StepMetrics:
        if self.step_number == 2:
            raise _Killed
        return super().step(rows)


def interrupted(name: str, folder: Path) -> dict[str, Any]:
    """A training that is broken off after two of its steps and goes on in new sessions, and one that is not."""
    rule = EarlyStopping(
        every=1, patience=9, measure=lambda session: response_loss(session.model, HELD_OUT).mean
    )
    steps: list[int] = []

    def tell(metrics: StepMetrics) -> None:
        steps.append(metrics.step)

    whole = session_of(name)
    expected = train(whole, batches(random_row), folder / "whole", every=1, early_stopping=rule)
    with contextlib.suppress(_Killed):
        broken = session_of(name, kind=_BrokenOff)
        train(broken, batches(random_row), folder / "broken", every=1, early_stopping=rule, on_step=tell)
    resumed = session_of(name)
    result = train(
        resumed, batches(random_row), folder / "broken", every=1, early_stopping=rule, on_step=tell
    )
    resumed.save_weights(folder / "weights")
    return {
        "expected": whole.state_dict()["tensors"],
        "weights": resumed.state_dict()["tensors"],
        "measures": (expected.measures, result.measures),
        "resumed_from": result.resumed_from,
        "steps": steps,
    }


def process(number: int, folder: str) -> None:
    """One of two processes: trains every configuration and saves what came out."""
    torch.set_num_threads(1)
    try:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=2
        )
    except RuntimeError as error:
        Path(folder, "cannot_start").write_text(str(error))
        return
    assert process_number() == (number, 2)
    assert sum_numbers([1.0, float(number)], torch.device("cpu")) == [2.0, 1.0]
    found: dict[str, Any] = {name: trained(session_of(name)) for name in CONFIGS}
    for name in INTERRUPTED:
        found[f"interrupted {name}"] = interrupted(name, Path(folder, name))
    try:
        session_of("full").step([TrainingRow("bad", (random_row(0),), weight=float("nan"))])
    except SultanaError as error:
        found["refusal"] = str(error)
    torch.save(found, Path(folder, f"{number}.pt"))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def two_processes(folder: Path) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", os.environ.get("GLOO_SOCKET_IFNAME", "lo"))
        torch.multiprocessing.spawn(process, (str(folder),), nprocs=2)
    if (folder / "cannot_start").exists():
        pytest.skip(f"gloo cannot start here: {(folder / 'cannot_start').read_text()}")
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


def close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(
        torch.allclose(one[name], two[name], rtol=1e-4, atol=2e-6) for name in one
    )


@pytest.mark.parametrize("name", AS_ONE)
def test_two_processes_train_as_one(two_processes: list[dict[str, Any]], name: str) -> None:
    alone = trained(session_of(name, sharding="none"))
    for other in (one[name] for one in two_processes):
        assert close(other["gradients"], alone["gradients"])
        assert close(other["weights"], alone["weights"])
        assert other["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        assert other["norms"] == pytest.approx(alone["norms"], rel=1e-4)
        assert other["tokens"] == alone["tokens"]


@pytest.mark.parametrize("name", CONFIGS)
def test_both_end_with_the_same_weights_to_the_last_bit(
    two_processes: list[dict[str, Any]], name: str
) -> None:
    one, two = (found[name]["weights"] for found in two_processes)
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", INTERRUPTED)
def test_they_go_on_where_they_were_broken_off(two_processes: list[dict[str, Any]], name: str) -> None:
    for number, found in enumerate(one[f"interrupted {name}"] for one in two_processes):
        assert found["resumed_from"] == 2
        assert found["measures"][0] == found["measures"][1] and len(found["measures"][0]) == STEPS
        assert found["steps"] == ([0, 1, 2] if number == 0 else [])  # told once
        assert found["weights"].keys() == found["expected"].keys()
        assert all(torch.equal(found["weights"][key], found["expected"][key]) for key in found["weights"])


@pytest.mark.parametrize("name", INTERRUPTED)
def test_saved_weights_are_whole(two_processes: list[dict[str, Any]], folder: Path, name: str) -> None:
    model, _ = load_weights((tiny_llama(), tiny_tokenizer()), folder / name / "weights")
    state = model.state_dict()
    weights = two_processes[0][f"interrupted {name}"]["weights"]
    for key in (key.removeprefix("weights/") for key in weights if key.startswith("weights/")):
        assert torch.equal(state[key], weights[f"weights/{key}"]), key


def test_both_refuse_together(two_processes: list[dict[str, Any]]) -> None:
    assert all("gave a loss of nan" in found["refusal"] for found in two_processes)


def test_one_process_is_not_divided() -> None:
    with pytest.raises(SultanaError, match="among processes, and there is one"):
        session_of("full, fsdp")

"""A training as data: what any process needs to run it, and what it gives back.

In a folder a job is tensors (`rows.safetensors`: the tokens of all conversations, one after another) and JSON
(`job.json`: settings, and which conversations make which row of which step). Nothing is pickled.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file, save_file

from assets.finetuning.curves import MeasuredCurve
from assets.finetuning.devices import process_number
from assets.finetuning.encoding import Encoded
from assets.finetuning.loop import EarlyStopping, TrainingResult, train
from assets.finetuning.scoring import Example, response_loss
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import StepMetrics, TrainingRow

JOB = "job.json"
ROWS = "rows.safetensors"
WEIGHTS = "weights"
REWARD_CURVE = "reward.json"
PADDING_ON_CPU = 0.25
"""Largest share of padding in a row's line on a CPU, as in scoring. A CUDA device prefers fewer passes."""


@dataclass(frozen=True)
class TrainingJob:
    """A training, its held-out examples and when to measure and save."""

    config: TrainingConfig
    batches: Sequence[Sequence[TrainingRow]]
    held_out: Sequence[Example]  # of the early-stopping split: their loss decides
    rewarded: Sequence[Example]  # of the reward split: their loss is measured only
    fingerprint: str  # of the base model
    save_every: int  # steps
    measure_every: int  # steps
    patience: int  # measurements
    sharding: Literal["none", "fsdp"] = "none"


def run_job(
    job: TrainingJob,
    language_model_pair: tuple[Any, Any],
    folder: Path,
    on_step: Callable[[StepMetrics], None] | None = None,
) -> TrainingResult:
    """Train in `folder`, from its newest checkpoint on; `folder`/weights holds the result's weights then.

    The losses on the reward split are in `folder`/reward.json (curves.MeasuredCurve). Raises SultanaError as
    `TrainingSession` and `train` do.
    """
    on_cpu = language_model_pair[0].get_input_embeddings().weight.device.type == "cpu"
    session = TrainingSession(
        language_model_pair,
        job.config,
        len(job.batches),
        job.fingerprint,
        sharding=job.sharding,
        most_padding=PADDING_ON_CPU if on_cpu else 1.0,
    )
    is_first = process_number()[0] == 0
    reward = MeasuredCurve(folder / REWARD_CURVE)

    def measure(trained: TrainingSession) -> float:
        loss = response_loss(trained.model, job.rewarded).mean
        if is_first:
            reward.add(trained.step_number, loss)
        return response_loss(trained.model, job.held_out).mean

    result = train(
        session,
        job.batches,
        folder,
        every=job.save_every,
        on_step=on_step,
        early_stopping=EarlyStopping(
            every=job.measure_every, patience=job.patience, measure=measure, at_start=True
        ),
    )
    if is_first:
        shutil.rmtree(folder / WEIGHTS, ignore_errors=True)
    session.save_weights(folder / WEIGHTS)
    return result


def write_job(job: TrainingJob, folder: Path) -> None:
    """Write a job into a folder, which is made; what was there before goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    conversations = _Conversations()
    steps = [
        [
            {
                "row_id": row.row_id,
                "parents": [conversations.place(parent) for parent in row.parents],
                "mixing": row.mixing,
                "weight": row.weight,
                "alignment": row.alignment,
                "layer": row.layer,
            }
            for row in batch
        ]
        for batch in job.batches
    ]
    splits = {
        name: [
            {
                "example_id": one.example_id,
                "task": one.task,
                "encoded": conversations.place(one.encoded),
                "answer": one.answer,
            }
            for one in getattr(job, name)
        ]
        for name in ("held_out", "rewarded")
    }
    save_file(conversations.arrays(), folder / ROWS)
    content = {
        **{field.name: getattr(job, field.name) for field in fields(job)},
        "config": asdict(job.config),
        "batches": steps,
        **splits,
        "row_ids": [one.row_id for one in conversations.found],
    }
    (folder / JOB).write_text(json.dumps(content), encoding="utf-8")


def read_job(folder: Path) -> TrainingJob:
    """The job that `write_job` wrote."""
    content = json.loads((folder / JOB).read_text(encoding="utf-8"))
    encoded = _conversations(load_file(folder / ROWS), content.pop("row_ids"))
    modules = content["config"]["target_modules"]
    if isinstance(modules, list):
        content["config"]["target_modules"] = tuple(modules)
    content["config"] = TrainingConfig(**content["config"])
    content["batches"] = [
        [TrainingRow(**row | {"parents": tuple(encoded[place] for place in row["parents"])}) for row in batch]
        for batch in content["batches"]
    ]
    for name in ("held_out", "rewarded"):
        content[name] = [Example(**one | {"encoded": encoded[one["encoded"]]}) for one in content[name]]
    return TrainingJob(**content)


def result_as_json(result: TrainingResult) -> dict[str, Any]:
    """A result as JSON values."""
    return asdict(result)


def result_from_json(value: dict[str, Any]) -> TrainingResult:
    """The result that `result_as_json` gave."""
    steps = tuple(StepMetrics(**step) for step in value["steps"])
    measures = tuple((int(step), float(loss)) for step, loss in value["measures"])
    return TrainingResult(**value | {"steps": steps, "measures": measures})


class _Conversations:
    """Encoded conversations, each once, by the order in which they were first seen."""

    def __init__(self) -> None:
        self.found: list[Encoded] = []
        self._places: dict[int, int] = {}

    def place(self, encoded: Encoded) -> int:
        if id(encoded) not in self._places:
            self._places[id(encoded)] = len(self.found)
            self.found.append(encoded)
        return self._places[id(encoded)]

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "ids": _joined((one.ids for one in self.found), np.int32),
            "trained": _joined((one.trained for one in self.found), np.uint8),
            "lengths": np.array([len(one) for one in self.found], np.int64),
            "response_starts": np.array([one.response_start for one in self.found], np.int64),
        }


def _joined(parts: Iterable[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *(part.astype(dtype) for part in parts)])


def _conversations(arrays: dict[str, np.ndarray], row_ids: Sequence[str]) -> list[Encoded]:
    borders = np.cumsum(arrays["lengths"])[:-1]
    return [
        Encoded(row_id, ids, trained.astype(bool), int(start))
        for row_id, ids, trained, start in zip(
            row_ids,
            np.split(arrays["ids"], borders),
            np.split(arrays["trained"], borders),
            arrays["response_starts"],
            strict=True,
        )
    ]

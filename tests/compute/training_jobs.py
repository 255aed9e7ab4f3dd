"""A training of a small model by two processes, here and on Ray, and what it made as bytes to compare."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from assets.finetuning.loop import TrainingResult
from assets.finetuning.processes import train_in_processes
from assets.finetuning.scoring import Example
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_job import WEIGHTS, TrainingJob
from assets.finetuning.training_row import StepMetrics, TrainingRow
from resources.compute.boundary import Compute
from resources.files import folder_manifest
from resources.language_model import LanguageModel
from tests.compute.loopback import PROJECT

sys.path.insert(0, str(PROJECT / "tests" / "finetuning"))
from small_models import random_row, tiny_llama, tiny_tokenizer

PROCESSES = 2
SHARDINGS = ("none", "fsdp")


def job(sharding: Any, steps: int) -> TrainingJob:
    """`steps` steps of 5 rows with dropout, of which some are mixed; a checkpoint every 3."""
    pair = random_row(90), random_row(91)
    batches = [[TrainingRow(f"r{s}-{n}", (random_row(s * 10 + n),)) for n in range(5)] for s in range(steps)]
    batches[1].append(TrainingRow("m", pair, 0.3, 0.5))
    batches[2].append(TrainingRow("k", pair, 0.6, layer=1, alignment="start"))
    return TrainingJob(
        config=TrainingConfig(
            rank=4,
            dropout=0.2,
            learning_rate=1e-2,
            micro_batch=2,
            target_modules=("q_proj", "v_proj"),
            seed=4,
        ),
        batches=batches,
        held_out=[Example(f"e{n}", "task", random_row(80 + n), "answer") for n in range(3)],
        rewarded=[Example(f"w{n}", "task", random_row(70 + n)) for n in range(3)],
        fingerprint="f" * 64,
        save_every=3,
        measure_every=steps // 2,
        patience=9,
        sharding=sharding,
    )


def refused_job() -> TrainingJob:
    """A job with a row whose weight is no number."""
    return replace(
        job("none", 4), batches=[[TrainingRow("bad", (random_row(0),), weight=float("nan"))]], save_every=1
    )


def small_model(folder: Path) -> LanguageModel:
    """A language model of random weights in `folder`, written once."""
    if not (folder / "config.json").exists():
        tiny_llama().save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    return LanguageModel(str(folder), folder=folder.parent / "models", dtype="float32")


def trained(
    compute: Compute,
    job: TrainingJob,
    model: LanguageModel,
    folder: Path,
    on_step: Callable[[StepMetrics], None] | None = None,
) -> dict[str, Any]:
    """What a training made: the hashes of its weights, its numbers, and the steps in the order they were told."""
    told: list[int] = []

    def tell(metrics: StepMetrics) -> None:
        told.append(metrics.step)
        if on_step is not None:
            on_step(metrics)

    result = train_in_processes(job, model, folder, processes=PROCESSES, on_step=tell, compute=compute)
    return {"made": made(result, folder), "told": told, "resumed_from": result.resumed_from}


def made(result: TrainingResult, folder: Path) -> dict[str, Any]:
    """What must be equal wherever it is made."""
    numbers = [[step.loss, step.gradient_norm, step.tokens] for step in result.steps]
    return {
        "weights": folder_manifest(folder / WEIGHTS),
        "numbers": hashlib.sha256(json.dumps([numbers, result.measures]).encode()).hexdigest(),
        "steps": len(result.steps),
    }


def say(case: str, **facts: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps({"case": case, **facts}) + "\n")
    sys.stdout.flush()

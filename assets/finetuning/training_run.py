"""From a ledger to trained weights: what the asset `checkpoint` does, and what a replay does again."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assets.finetuning.config import CheckpointConfig
from assets.finetuning.curves import MeasuredCurve
from assets.finetuning.processes import train_in_processes
from assets.finetuning.rows import read_batches
from assets.finetuning.session import check_settings, training_config
from resources.compute.boundary import Compute
from resources.compute.this_machine import THIS_MACHINE
from resources.progress import Progress
from resources.table_refs import TableRef
from resources.tables import LanceTables

if TYPE_CHECKING:
    from assets.finetuning.loop import TrainingResult
    from assets.finetuning.training_row import StepMetrics
    from resources.language_model import LanguageModel


@dataclass(frozen=True)
class TrainedFrom:
    """The table versions that training reads, and the longest row in tokens."""

    tables: LanceTables
    curriculum: TableRef
    curriculum_id: str
    instructions: TableRef
    recipes: TableRef
    splits: TableRef
    maximum_length: int


@dataclass(frozen=True)
class Trained:
    """A training and the folder of its weights.

    `reward` are the steps taken and the loss on the reward split after them, in nats a token.
    """

    result: "TrainingResult"
    reward: list[tuple[int, float]]
    weights: Path
    steps: int
    batch_size: int


def train_from_ledger(
    inputs: TrainedFrom,
    config: CheckpointConfig,
    model: "LanguageModel",
    seed: int,
    folder: Path,
    progress: Progress,
    compute: Compute = THIS_MACHINE,
) -> Trained:
    """Trains in `folder`, from the newest whole state there on; `progress` is of steps.

    One process trains here, several on the engine: all of its nodes have to see `folder` then.

    Raises SultanaError where a row or a setting cannot be trained with.
    """
    from assets.finetuning.examples import encode_examples
    from assets.finetuning.training_job import REWARD_CURVE, TrainingJob, run_job

    check_settings(config, compute)
    tokenizer = model.load_tokenizer()
    batches = read_batches(
        inputs.tables,
        curriculum=inputs.curriculum,
        curriculum_id=inputs.curriculum_id,
        instructions=inputs.instructions,
        interpolated=inputs.recipes,
        tokenizer=tokenizer,
        maximum_length=inputs.maximum_length,
    )
    held_out, rewarded = (
        encode_examples(
            inputs.tables,
            inputs.splits,
            split,
            tokenizer=tokenizer,
            maximum_length=inputs.maximum_length,
            most=config.early_stopping_examples,
        ).examples
        for split in ("early_stopping", "reward")
    )
    job = TrainingJob(
        config=training_config(config.training, inputs.maximum_length, seed),
        batches=batches,
        held_out=held_out,
        rewarded=rewarded,
        fingerprint=model.fingerprint(),
        save_every=config.save_every,
        # Without `early_stopping_every` the only measurement after a step is the last one, whose weights then count.
        measure_every=config.early_stopping_every or len(batches),
        patience=config.early_stopping_patience or len(batches) + 1,
        sharding=config.sharding.value,
    )

    progress.total = len(batches)

    def stepped(metrics: "StepMetrics") -> None:
        progress.to(metrics.step + 1)

    if config.processes == 1:
        result = run_job(job, model.load(), folder, stepped)
    else:
        result = train_in_processes(
            job, model, folder, processes=config.processes, on_step=stepped, compute=compute
        )
    reward = MeasuredCurve(folder / REWARD_CURVE).at(result.measures)
    return Trained(result, reward, folder / "weights", len(batches), len(batches[0]))

"""Several processes that train one model, and the wait for what they make.

The engine starts them (resources/compute): accelerate on this machine, Ray Train on a cluster. A killed training
leaves nothing behind but its checkpoints, from which the next one goes on.
"""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.finetuning.training_row import StepMetrics
from resources.compute.boundary import Compute
from resources.compute.this_machine import THIS_MACHINE
from resources.errors import SultanaError
from resources.files import folder_manifest

if TYPE_CHECKING:
    from assets.finetuning.loop import TrainingResult
    from assets.finetuning.training_job import TrainingJob
    from resources.language_model import LanguageModel

WORKER = "assets.finetuning.worker"
SHOWN_SECONDS = 90.0
"""How long a folder that is shared over a network may go on to show what it held before."""

_JOB_FOLDER = "job"


def check_sharding(processes: int, sharding: str, method: str, frozen_states: bool) -> None:
    """Raise SultanaError where the other settings do not allow the sharding."""
    if sharding == "none":
        return
    if processes == 1:
        raise SultanaError(
            "sharding is fsdp, which divides a model among processes, and processes is 1",
            "Set sharding to none, or processes to 2 or more",
            code="settings-conflict",
        )
    if method == "qlora":
        raise SultanaError(
            "sharding is fsdp and method is qlora: weights of 4 bits are not divided among processes",
            "Set sharding to none, or method to lora",
            code="settings-conflict",
        )
    if frozen_states:
        raise SultanaError(
            "sharding is fsdp and top_layers is set: states below the trained layers would be kept",
            "Set frozen_states_mebibytes to 0, or sharding to none",
            code="settings-conflict",
        )


def train_in_processes(
    job: "TrainingJob",
    model: "LanguageModel",
    folder: Path,
    *,
    processes: int,
    on_step: Callable[[StepMetrics], None] | None = None,
    compute: Compute = THIS_MACHINE,
) -> "TrainingResult":
    """As `training_job.run_job`, by `processes` processes of the engine that each load `model` from its files.

    `on_step` is called once for each step. Raises SultanaError as `run_job` does, where a process failed
    otherwise, and where the weights are not seen here as they were written.
    """
    from assets.finetuning.training_job import WEIGHTS, result_from_json, write_job
    from assets.finetuning.worker import write_start

    place = (folder / _JOB_FOLDER).resolve()
    write_job(job, place)
    write_start(model, place, folder)
    told = -1
    told_last: dict[str, Any] | None = None
    with closing(compute.process_group(WORKER, place, processes)) as messages:
        for message in messages:
            if "result" in message:
                told_last = message["result"]
            elif "step" in message:
                step = StepMetrics(**message["step"])
                if step.step > told and on_step is not None:  # a group that was lost takes steps again
                    on_step(step)
                told = max(told, step.step)
    assert told_last is not None, "the first process ended without a result"
    wait_for_files(folder / WEIGHTS, told_last["weights"])
    return result_from_json(told_last["result"])


def wait_for_files(folder: Path, expected: dict[str, str], seconds: float = SHOWN_SECONDS) -> None:
    """Wait until `folder` is seen with the files of these hashes, which another machine may have written.

    Raises SultanaError where it is not after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while folder_manifest(folder) != expected:
        if time.monotonic() > deadline:
            raise SultanaError(
                f"The files in {folder} are not those that the training has written there",
                "Let nobody else write there, and run the step again: it goes on from the last checkpoint",
                code="training-files-differ",
            )
        time.sleep(0.5)

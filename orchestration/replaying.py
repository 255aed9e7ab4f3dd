"""`sultana audit --replay`: train again from the ledger, and hold the weights against the registered model's."""

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.finetuning.config import CheckpointConfig
from assets.finetuning.training_run import TrainedFrom, train_from_ledger
from assets.lineage.manifest import table_of
from assets.materialization import environment
from orchestration.chains import RegisteredLineage
from orchestration.registered import download_verified
from resources.definitions import Storage
from resources.language_model import LanguageModel
from resources.model_flavor import open_base
from resources.progress import track
from resources.tables import LanceTables

if TYPE_CHECKING:
    from resources.tracking import Tracking

TOLERANCE = 1e-3
"""Largest difference of weights, in units of each tensor's root mean square, that another machine may make."""


def replay(
    tracking: "Tracking",
    tables: LanceTables,
    lineage: RegisteredLineage,
    say: Any,
    *,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Trains again and compares every tensor, as JSON values.

    `bit_equal` is what the same machine, packages and number of threads give; `reproduced` that no tensor differs by
    more than `tolerance`, in units of its root mean square. Nothing is published. Raises SultanaError where the files
    of the version are not those that were published, or the base model is another one.
    """
    checkpoint = lineage.chain.checkpoint
    curriculum = lineage.chain.follow(checkpoint, "curriculum")
    with tempfile.TemporaryDirectory(prefix="replay-", dir=Storage().path("tmp")) as temporary:
        folder, base = download_verified(tracking, lineage.model, Path(temporary) / "model")
        known = open_base(base, Storage().path("models"))
        model = LanguageModel(
            known.model, known.revision, known.folder, checkpoint["facts"]["language_model_dtype"]
        )
        with track("training again", None, "steps", say) as progress:
            trained = train_from_ledger(
                TrainedFrom(
                    tables,
                    curriculum=lineage.backward.curriculum,
                    curriculum_id=lineage.backward.curriculum_id,
                    instructions=lineage.backward.instructions,
                    recipes=lineage.backward.recipes,
                    splits=table_of(lineage.chain.follow(checkpoint, "benchmark_splits")),
                    maximum_length=int(curriculum["configuration"]["maximum_length"]),
                ),
                CheckpointConfig(**checkpoint["configuration"]),
                model,
                checkpoint["settings"]["seed"],
                Path(temporary) / "training",
                progress,
            )
        found = differences(folder, trained.weights)
    here, there = environment(), checkpoint["environment"]
    return {
        **found,
        "reproduced": found["bit_equal"] or found["largest_difference"] <= tolerance,
        "tolerance": tolerance,
        "steps": trained.steps,
        "environment_differs": sorted(
            name
            for name in ("python", "machine", *here["packages"])
            if {**here, **here["packages"]}[name] != {**there, **there["packages"]}.get(name)
        ),
    }


def differences(published: Path, again: Path) -> dict[str, Any]:
    """How the tensors of two folders of weights differ, as JSON values.

    `largest_difference` is in units of the published tensor's root mean square, `worst` names its tensor; tensors
    that one side lacks, that have another shape or hold no numbers count as infinitely different.
    """
    ours, theirs = _tensors(again), _tensors(published)
    worst, largest, equal = "", 0.0, 0
    for name in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None or one.shape != other.shape:
            worst, largest = name, math.inf
            continue
        if one.dtype == other.dtype and one.equal(other):
            equal += 1
            continue
        scale = float(other.double().pow(2).mean().sqrt())
        difference = float((one.double() - other.double()).abs().max()) / (scale or 1.0)
        if math.isnan(difference):
            difference = math.inf
        if difference > largest:
            worst, largest = name, difference
    count = len(ours.keys() | theirs.keys())
    return {
        "tensors": count,
        "bit_equal_tensors": equal,
        "bit_equal": equal == count > 0,
        "largest_difference": largest,
        "worst": worst,
    }


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*.safetensors")):
        found |= {f"{file.name}:{name}": tensor for name, tensor in load_file(file).items()}
    return found

"""The door to the check of the stage `finetuning`."""

import dagster as dg

from assets.checking import Checking
from assets.finetuning.config import CheckpointChecksConfig
from assets.finetuning.soundness import losses_finite
from resources.definitions import Storage

ASSET = "checkpoint"
LOSSES_FINITE = "losses_are_finite"


@dg.multi_asset_check(
    name="checkpoint_checks",
    specs=[
        dg.AssetCheckSpec(
            LOSSES_FINITE,
            asset=ASSET,
            blocking=True,
            description="The losses of the training batches and of both held-out splits are finite, and end at a size "
            "that a language model has.",
        )
    ],
)
def checkpoint_checks(
    context: dg.AssetCheckExecutionContext, config: CheckpointChecksConfig, storage: Storage
) -> dg.AssetCheckResult:
    """Losses of the training, as recorded; the model is not loaded."""
    checking = Checking(context, storage)
    made = checking.made(ASSET)
    # Checkpoints from before losses were put on the record have this one alone.
    losses = made.record["facts"].get("losses") or {
        "last_training_loss": made.metadata["final_training_loss"].value
    }
    (result,) = checking.results({(ASSET, LOSSES_FINITE): lambda: losses_finite(losses, config.maximum_loss)})
    return result

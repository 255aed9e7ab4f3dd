"""The chain of materializations behind a registered version: from Dagster's event log, or from the copy in MLflow."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.lineage.audit.backward import Backward
from assets.lineage.audit.influence import gains_of
from assets.lineage.manifest import (
    ARTIFACT,
    MANIFEST_TAG,
    Chain,
    build_manifest,
    manifest_sha256,
    read_manifest,
    table_of,
    walk,
)
from assets.lineage.signing import SIGNATURE_TAG, SIGNED_BY_TAG
from assets.lineage.training_set import TrainingSet, training_set
from assets.materialized import record_at
from orchestration.registered import Registered, checkpoint_of
from resources.errors import SultanaError
from resources.tables import LanceTables

if TYPE_CHECKING:
    from resources.tracking import Tracking

DAGSTER, MLFLOW = "Dagster's event log", "the manifest in MLflow"


@dataclass(frozen=True)
class Lineage:
    """A version's chain, who told it, and what stands behind it."""

    model: Registered
    chain: Chain
    told_by: str
    backward: Backward
    trained_on: TrainingSet

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the chain, made anew."""
        return build_manifest(self.chain, self.trained_on.commitment())

    @functools.cached_property
    def sha256(self) -> str:
        """Its hash."""
        return manifest_sha256(self.manifest)

    @property
    def registered_sha256(self) -> str | None:
        """The hash that the model version carries, if any."""
        return self.model.tags.get(MANIFEST_TAG)

    @property
    def signature(self) -> dict[str, str] | None:
        """The signature that the model version carries, if any."""
        tags = self.model.tags
        if SIGNATURE_TAG not in tags or SIGNED_BY_TAG not in tags:
            return None
        return {
            "algorithm": "Ed25519",
            "signature": tags[SIGNATURE_TAG],
            "public_key": tags[SIGNED_BY_TAG],
        }


def lineage_of(
    instance: dg.DagsterInstance, tracking: "Tracking", tables: LanceTables, model: Registered
) -> Lineage:
    """The lineage of a version, by Dagster where it still knows it, else by MLflow.

    Raises SultanaError where neither does, or a link or table is gone.
    """
    chain, told_by = _chain(instance, tracking, model)
    curriculum = chain.follow(chain.checkpoint, "curriculum")
    clusters = chain.follow(curriculum, "diversity_clusters")
    facts = curriculum["facts"]
    backward = Backward(
        tables,
        curriculum=table_of(curriculum),
        curriculum_id=facts["curriculum_id"],
        instructions=table_of(chain.follow(clusters, "instructions"), "instructions"),
        recipes=table_of(chain.follow(clusters, "interpolated_instructions")),
        gains=gains_of(facts),
    )
    trained_on = training_set(tables, backward.curriculum, backward.curriculum_id, backward.recipes)
    return Lineage(model, chain, told_by, backward, trained_on)


def _chain(instance: dg.DagsterInstance, tracking: "Tracking", model: Registered) -> tuple[Chain, str]:
    try:
        checkpoint = checkpoint_of(instance, model)
        fetch = functools.partial(record_at, instance)
        return Chain(tuple(walk(checkpoint.pointer(), fetch))), DAGSTER
    except SultanaError as error:
        kept = stored_manifest(tracking, model)
        if kept is None:
            raise SultanaError(
                f"{error.problem}, and {model.title} has no manifest in MLflow",
                f"{error.remedy}, or materialize lineage_manifest",
            ) from error
        return Chain(tuple(kept["materializations"])), MLFLOW


def stored_manifest(tracking: "Tracking", model: Registered) -> dict[str, Any] | None:
    """The manifest that lies with the version's MLflow run, or None where none does.

    Raises SultanaError where it is not the one whose hash the version carries.
    """
    content = tracking.read_artifact(model.run_id, ARTIFACT)
    if content is None:
        return None
    return read_manifest(content, model.tags.get(MANIFEST_TAG), f"MLflow run {model.run_id}")

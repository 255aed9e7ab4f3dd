"""The chain of materializations behind a registered version: from Dagster's event log, or from the copy in MLflow."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.lineage.audit.backward import Backward
from assets.lineage.audit.influence import gains_of
from assets.lineage.audit.lineage import Lineage, read_lineage
from assets.lineage.manifest import ARTIFACT, MANIFEST_TAG, Chain, read_manifest, walk
from assets.lineage.signing import SIGNATURE_TAG, SIGNED_BY_TAG
from assets.materialized import Materialized, follow, record_at
from orchestration.registered import Registered, checkpoint_of
from resources.errors import SultanaError
from resources.tables import LanceTables

if TYPE_CHECKING:
    from resources.tracking import Tracking

DAGSTER, MLFLOW = "Dagster's event log", "the manifest in MLflow"


@dataclass(frozen=True)
class RegisteredLineage(Lineage):
    """A version's lineage, and who told it."""

    model: Registered
    told_by: str

    @property
    def registered_sha256(self) -> str | None:
        """The hash that the model version carries, if any."""
        return self.model.tags.get(MANIFEST_TAG)

    @property
    def signature(self) -> dict[str, str] | None:
        """The signature that the model version carries, if any."""
        return signature_of(self.model)


def signature_of(model: Registered) -> dict[str, str] | None:
    """The signature of its manifest that a model version carries, if any."""
    tags = model.tags
    if SIGNATURE_TAG not in tags or SIGNED_BY_TAG not in tags:
        return None
    return {
        "algorithm": "Ed25519",
        "signature": tags[SIGNATURE_TAG],
        "public_key": tags[SIGNED_BY_TAG],
    }


def lineage_of(
    instance: dg.DagsterInstance, tracking: "Tracking", tables: LanceTables, model: Registered
) -> RegisteredLineage:
    """The lineage of a version, by Dagster where it still knows it, else by MLflow.

    Raises SultanaError where neither does, or a link or table is gone.
    """
    return read_chain(tables, model, *chain_of(instance, tracking, model))


def read_chain(tables: LanceTables, model: Registered, chain: Chain, told_by: str) -> RegisteredLineage:
    """The lineage behind a chain. Raises SultanaError where a link or table is gone."""
    found = read_lineage(chain, tables)
    return RegisteredLineage(found.chain, found.backward, found.trained_on, model, told_by)


def chain_of(instance: dg.DagsterInstance, tracking: "Tracking", model: Registered) -> tuple[Chain, str]:
    """The chain behind a version and who told it; no table is read. Raises SultanaError where nobody knows it."""
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
                code=error.code,
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


def open_backward(instance: dg.DagsterInstance, tables: LanceTables, curriculum: Materialized) -> Backward:
    """A curriculum with the very table versions that it was made from."""
    clusters = follow(instance, curriculum, "diversity_clusters")
    facts = curriculum.record["facts"]
    return Backward(
        tables,
        curriculum=curriculum.table(),
        curriculum_id=facts["curriculum_id"],
        instructions=follow(instance, clusters, "instructions").table("instructions"),
        recipes=follow(instance, clusters, "interpolated_instructions").table(),
        gains=gains_of(facts),
    )

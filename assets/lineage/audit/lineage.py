"""The lineage of one checkpoint: its chain, the tables behind it, the set that it was trained on, its manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from assets.lineage.audit.backward import Backward
from assets.lineage.audit.influence import gains_of
from assets.lineage.manifest import Chain, build_manifest, manifest_sha256, model_of, table_of
from assets.lineage.training_set import TrainingSet, training_set
from resources.tables import LanceTables


@dataclass(frozen=True)
class Lineage:
    """What stands behind a checkpoint."""

    chain: Chain
    backward: Backward
    trained_on: TrainingSet

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the chain, made anew."""
        return build_manifest(self.chain, self.trained_on.commitment())

    @cached_property
    def sha256(self) -> str:
        """Its hash."""
        return manifest_sha256(self.manifest)


def read_lineage(chain: Chain, tables: LanceTables) -> Lineage:
    """The lineage behind a chain. Raises SultanaError where a link or a table is gone."""
    curriculum = chain.follow(chain.checkpoint, "curriculum")
    clusters = chain.follow(curriculum, "diversity_clusters")
    backward = Backward(
        tables,
        curriculum=table_of(curriculum),
        curriculum_id=curriculum["facts"]["curriculum_id"],
        instructions=table_of(chain.follow(clusters, "instructions"), "instructions"),
        recipes=table_of(chain.follow(clusters, "interpolated_instructions")),
        gains=gains_of(curriculum["facts"]),
    )
    trained_on = training_set(tables, backward.curriculum, backward.curriculum_id, backward.recipes)
    return Lineage(chain, backward, trained_on)


def tell(chain: Chain, lineage: Lineage | None, scores: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What a person asks of a lineage first, as JSON values; `scores` are rows of EVALUATIONS of the checkpoint.

    Without a lineage, where the tables behind the chain are damaged, what they hold is None.
    """
    checkpoint = chain.checkpoint
    facts = chain.follow(checkpoint, "curriculum")["facts"]
    return {
        "model": model_of(chain),
        "partition": checkpoint["partition"],
        "strategy": facts["strategy"],
        "curriculum_id": facts["curriculum_id"],
        "manifest": {"sha256": None if lineage is None else lineage.sha256},
        "training_set": None if lineage is None else lineage.trained_on.commitment(),
        "chain": [_link(one) for one in chain.links],
        "contamination": [
            {name: row[name] for name in ("split", "task", "metric", "examples", "overlapping")}
            for row in scores
        ],
    }


def _link(one: Mapping[str, Any]) -> dict[str, Any]:
    code = one["environment"]
    return {
        "asset": one["asset"],
        "partition": one["partition"],
        "upstream": sorted(one["upstream"]),
        "code_version": one["code_version"],
        "data_version": one["data_version"],
        "made_at": one["made_at"],
        "made_by_run": one["made_by_run"],
        "started_by": one["started_by"],
        "git_commit": code["git_commit"],
        "git_dirty": code["git_dirty"],
        "environment": code,
        "configuration": one["configuration"],
        "settings": one["settings"],
        "tables": [
            {name: ref[name] for name in ("table", "version", "digest", "rows")}
            for ref in one["tables"].values()
        ],
    }

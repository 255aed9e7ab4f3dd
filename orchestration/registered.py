"""A registered model version as commands see it: resolved, traced to its checkpoint, opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.materialized import Materialized, every_materialization
from resources.definitions import ModelRegistry, Storage
from resources.errors import SultanaError
from resources.model_flavor import BaseModel, open_base, recorded_base
from resources.model_reference import parse_reference, resolve

if TYPE_CHECKING:
    from resources.tracking import Tracking

PARTITION_TAG = "dagster.partition"


@dataclass(frozen=True)
class Registered:
    """One version in the registry."""

    name: str
    version: int
    run_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name} version {self.version}"


def open_registry(tracking_uri: str) -> "Tracking":
    """The MLflow store at this address, or that of the data folder where it is empty."""
    return ModelRegistry(tracking_uri=tracking_uri).open(Storage())


def find_registered(tracking: "Tracking", reference: str, *defaults: str) -> Registered:
    """The version that a reference means; `defaults` are the aliases to try for a bare name, in order."""
    parsed = parse_reference(reference)
    found = resolve(tracking, parsed, defaults) if defaults else resolve(tracking, parsed)
    version = int(found.version)
    aliases = tracking.aliases(parsed.name).items()
    return Registered(
        parsed.name,
        version,
        str(found.run_id),
        dict(found.tags),
        tuple(sorted(alias for alias, number in aliases if number == version)),
    )


def made_for(instance: dg.DagsterInstance, asset: str, model: Registered) -> list[Materialized]:
    """The materializations of `asset` (checkpoint or evaluation) for a version, the newest first.

    Raises SultanaError where the version does not say which partition it is of.
    """
    partition = model.tags.get(PARTITION_TAG)
    if not partition:
        raise SultanaError(
            f"{model.title} was not registered by Sultana: it has no tag {PARTITION_TAG}",
            "Name a version that a materialized checkpoint registered",
            code="model-not-ours",
        )
    found = []
    for made in every_materialization(instance, asset, partition):
        facts = made.record["facts"]
        if facts.get("model") == model.name and facts.get("version") == model.version:
            found.append(made)
    return found


def checkpoint_of(instance: dg.DagsterInstance, model: Registered) -> Materialized:
    """The checkpoint that a version was registered from. Raises SultanaError where Dagster does not know it."""
    found = made_for(instance, "checkpoint", model)
    if not found:
        raise SultanaError(
            f"Dagster does not know the checkpoint that {model.title} was registered from",
            "Name the data folder that it was trained in (SULTANA_DATA), or restore its Dagster instance",
            code="history-missing",
        )
    return found[-1]


def download_verified(tracking: "Tracking", model: Registered, to: Path) -> tuple[Path, BaseModel]:
    """A copy of a version's files, hashed against the registry, and what its base model is."""
    folder = tracking.download(model.name, model.version, to)
    return folder, recorded_base(folder)


def load_pair(folder: Path, base: BaseModel) -> tuple[Any, Any]:
    """(model, tokenizer) of downloaded files, ready to generate."""
    from assets.finetuning.weights import load_weights

    return load_weights(open_base(base, Storage().path("models")).load(), folder)

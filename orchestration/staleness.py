"""Whether a materialization still is what its code and inputs would give now, in Dagster's sense.

An asset is stale when its own code version or the data version of something it reads has changed. What lies
further down becomes stale when its own inputs have been made again and differ, and not before: equal
results stop there.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.materialized import Materialized, materializations, newest_of_partitions
from assets.partitions import materialized_partitions


class Newest:
    """The newest materialization of whatever is asked for, each looked up once: for questions about one moment."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._versions: dict[tuple[str, str | None], str | None] = {}
        self._partitions: dict[str, list[str]] = {}

    def partitions(self, asset: str) -> list[str]:
        """The partitions of an asset that were made and not deleted, sorted by their text."""
        if asset not in self._partitions:
            self._partitions[asset] = materialized_partitions(self._instance, asset)
        return self._partitions[asset]

    def of(self, asset: str, *, partitioned: bool) -> list[Materialized]:
        """The newest materialization of an asset, or of each of its partitions, in as many queries as for one."""
        found = (
            newest_of_partitions(self._instance, asset, self.partitions(asset))
            if partitioned
            else materializations(self._instance, asset)
        )
        self._versions |= {(asset, made.partition): made.data_version for made in found}
        return found

    def data_version(self, asset: str, partition: str | None) -> str | None:
        """That of the newest materialization; None where there is none."""
        if (asset, partition) not in self._versions:
            found = materializations(self._instance, asset, partition)
            self._versions[asset, partition] = found[0].data_version if found else None
        return self._versions[asset, partition]


def why_stale(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    made: Materialized,
    newest: Newest | None = None,
) -> str:
    """What has changed since a materialization: its code, or something it read; empty where nothing has.

    `newest` is for those who ask about several.
    """
    newest = newest or Newest(instance)
    code_version = repository.asset_graph.get(dg.AssetKey(made.asset)).code_version
    if code_version is not None and made.record["code_version"] != code_version:
        return f"code version {made.record['code_version']} → {code_version}"
    for pointer in made.record["upstream"].values():
        version = newest.data_version(pointer["asset"], pointer["partition"])
        if version is not None and version != pointer["data_version"]:
            return f"{pointer['asset']} has changed"
    return _other_partitions(repository, made, newest)


def _other_partitions(repository: dg.RepositoryDefinition, made: Materialized, newest: Newest) -> str:
    """A partition that came, or went, after an asset over all partitions was made; empty where there is none."""
    graph = repository.asset_graph
    if made.partition is not None:
        return ""
    for parent in graph.get(dg.AssetKey(made.asset)).parent_keys:
        if graph.get(parent).is_partitioned:
            name = parent.to_user_string()
            read = {
                pointer["partition"]
                for pointer in made.record["upstream"].values()
                if pointer["asset"] == name
            }
            there = set(newest.partitions(name))
            for partition in sorted(there - read):
                return f"{name} {partition} is new"
            for partition in sorted(read - there):
                return f"{name} {partition} was deleted"
    return ""


def other_settings(made: Materialized, configuration: dg.Config) -> str:
    """The setting, with its path, in which a materialization differs from `configuration`; empty where none does."""
    return _difference(made.record["configuration"], configuration.model_dump(mode="json"), "")


def _difference(recorded: Any, wanted: Any, path: str) -> str:
    # Only what was recorded counts: an asset leaves out the settings that its result does not depend on.
    if isinstance(recorded, Mapping) and isinstance(wanted, Mapping):
        found = (
            _difference(value, wanted.get(name), f"{path}.{name}".lstrip("."))
            for name, value in recorded.items()
        )
        return next((one for one in found if one), "")
    return "" if recorded == wanted else path

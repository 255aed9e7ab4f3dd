"""Whether a materialization still is what its code and inputs would give now, in Dagster's sense.

An asset is stale when its own code version or the data version of something it reads has changed. What lies
further down becomes stale when its own inputs have been made again and differ, and not before: equal
results stop there.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.materialized import Materialized, materializations
from assets.partitions import materialized_partitions


def why_stale(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, made: Materialized) -> str:
    """What has changed since a materialization: its code, or something it read; empty where nothing has."""
    code_version = repository.asset_graph.get(dg.AssetKey(made.asset)).code_version
    if code_version is not None and made.record["code_version"] != code_version:
        return f"code version {made.record['code_version']} → {code_version}"
    for pointer in made.record["upstream"].values():
        newest = materializations(instance, pointer["asset"], pointer["partition"])
        if newest and newest[0].data_version != pointer["data_version"]:
            return f"{pointer['asset']} has changed"
    return _other_partitions(instance, repository, made)


def _other_partitions(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, made: Materialized
) -> str:
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
            there = set(materialized_partitions(instance, name))
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

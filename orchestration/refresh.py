"""What a run is configured with that nobody started by hand.

`SULTANA_SETTINGS` may name a file that is written as a preset is: `partitions` and `run_config`. Without it,
an asset is made again with the settings of its last run, and checked against the bounds that its checks last
had, so nothing changes that nobody changed.
"""

import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.materialized import materializations
from assets.partitions import check_seed, partition_key
from orchestration.checks import CHECKS
from orchestration.settings import check_configuration, read_yaml
from resources.errors import SultanaError

SETTINGS = "SULTANA_SETTINGS"


@dataclass(frozen=True)
class RefreshSettings:
    """What the file in `SULTANA_SETTINGS` says."""

    file: Path
    run_config: dict[str, Any]
    partitions: tuple[dg.MultiPartitionKey, ...]


def refresh_settings() -> RefreshSettings | None:
    """The settings file, read and checked; None where the environment names none. Raises SultanaError."""
    named = os.environ.get(SETTINGS, "")
    if not named:
        return None
    file = Path(named).expanduser()
    found = read_yaml(file, f"settings file of {SETTINGS}")
    if unknown := sorted(set(found) - {"partitions", "run_config"}):
        raise SultanaError(
            f"The settings file {file} has an unknown key '{unknown[0]}'",
            "Use 'partitions' and 'run_config'",
            code="setting-unknown",
        )
    run_config = found.get("run_config") or {}
    check_configuration(run_config)
    partitions = found.get("partitions") or {}
    strategies = [str(one) for one in partitions.get("strategy") or ()]
    seeds = [check_seed(str(one)) for one in partitions.get("seed") or ()]
    keys = tuple(partition_key(strategy, seed) for strategy in strategies for seed in seeds)
    return RefreshSettings(file, run_config, keys)


def run_config_for(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    assets: Iterable[str],
    partition: str | None = None,
) -> dict[str, Any]:
    """The run configuration of a run of `assets` and their checks: the settings file's, else that of their last runs.

    Of a partition that was never made, the last run of any partition counts. Assets that were never made
    keep their defaults.
    """
    assets = list(assets)
    settings = refresh_settings()
    graph = repository.asset_graph
    found: list[tuple[int, str, Mapping[str, Any]]] = []
    for asset in assets:
        made = materializations(instance, asset, partition) or materializations(instance, asset)
        run = instance.get_run_by_id(made[0].run_id) if made else None
        if settings is not None:
            found.append((0, asset, settings.run_config))
        elif run is not None:
            found.append((made[0].storage_id, asset, run.run_config))
    ops: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    # The newest last: where assets were made with different resources, the last choice is what people mean.
    for _, asset, config in sorted(found, key=lambda one: one[:2]):
        definition = graph.get(dg.AssetKey(asset)).assets_def
        if values := (config.get("ops") or {}).get(definition.op.name):
            ops[definition.op.name] = values
        for name, values in (config.get("resources") or {}).items():
            if name in definition.required_resource_keys:
                resources[name] = values
    ops |= _bounds(instance, {dg.AssetKey(asset) for asset in assets}, settings)
    return {name: values for name, values in (("ops", ops), ("resources", resources)) if values}


def _bounds(
    instance: dg.DagsterInstance, assets: Set[dg.AssetKey], settings: RefreshSettings | None
) -> dict[str, Any]:
    """The configuration of the checks of `assets`: the settings file's, else that which each ran with last."""
    found = {}
    for checks in CHECKS:
        keys = [key for key in checks.check_keys if key.asset_key in assets]
        if not keys:
            continue
        config: Mapping[str, Any] = {}
        if settings is not None:
            config = settings.run_config
        elif ran := instance.event_log_storage.get_latest_asset_check_execution_by_key(keys):
            run = instance.get_run_by_id(max(ran.values(), key=lambda one: one.id).run_id)
            config = run.run_config if run is not None else {}
        if values := (config.get("ops") or {}).get(checks.op.name):
            found[checks.op.name] = values
    return found

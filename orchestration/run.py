"""`sultana run`: which assets and partitions, with what configuration, in which order.

Runs happen in this process, on the Dagster instance of the data folder, so the UI shows each of them.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console

from assets.partitions import add_partition, partition_key
from orchestration.check_results import failed_checks, in_words, stopped, stops
from orchestration.checks import CHECKS
from orchestration.console import ConsoleSink, drawn_progress
from orchestration.dead_runs import fail_dead_runs
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.pool_waiting import asleep_while_waiting
from orchestration.settings import check_configuration, read_preset, read_yaml
from resources.definitions import data_folder
from resources.errors import SultanaError
from resources.run_process import carried_out

SILENT: Mapping[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Request:
    """What the user asked for on the command line."""

    preset: str = "default"
    config: Path | None = None
    sources: Sequence[str] = ()
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    maximum_rows: int | None = None
    strategies: Sequence[str] = ()
    seeds: Sequence[int] = ()
    to: str = ""


@dataclass(frozen=True)
class Plan:
    """Assets in the order of their runs, partitions, and the configuration of every op and resource."""

    before: tuple[str, ...]
    partitioned: tuple[str, ...]
    after: tuple[str, ...]
    partitions: tuple[dg.MultiPartitionKey, ...]
    run_config: Mapping[str, Any]


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _source(number: int, path: str) -> dict[str, str]:
    name = "".join(one if one.isalnum() or one in "._-" else "-" for one in path.rstrip("/").split("/")[-1])
    return {"name": f"{number}-{name.lstrip('-.')[:48] or 'source'}", "path": path}


def _from_options(request: Request) -> dict[str, Any]:
    ops: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    if request.sources:
        raw["sources"] = [_source(number, path) for number, path in enumerate(request.sources)]
    if request.maximum_rows is not None:
        raw["maximum_rows"] = request.maximum_rows
    if raw:
        ops["raw_instructions"] = {"config": raw}
    splits = {
        split: [_source(number, path) for number, path in enumerate(paths)]
        for split, paths in request.splits.items()
        if paths
    }
    if splits:
        ops["benchmark_splits"] = {"config": splits}
    return {"ops": ops}


def plan(request: Request) -> Plan:
    """The runs that a request means. Raises SultanaError where a setting is wrong; nothing has run yet."""
    settings = read_preset(request.preset)
    run_config = settings["run_config"]
    if request.config is not None:
        run_config = _merge(run_config, read_yaml(request.config, "run configuration"))
    run_config = _merge(run_config, _from_options(request))
    check_configuration(run_config)

    strategies = request.strategies or settings["partitions"]["strategy"]
    seeds = request.seeds or settings["partitions"]["seed"]
    partitions = tuple(partition_key(strategy, seed) for strategy in strategies for seed in seeds)

    graph = defs.resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    if request.to:
        target = dg.AssetKey(request.to)
        if target not in keys:
            names = ", ".join(sorted(key.to_user_string() for key in keys))
            raise SultanaError(
                f"There is no asset '{request.to}'", f"Choose one of: {names}", code="asset-unknown"
            )
        keys = dg.AssetSelection.assets(target).upstream().resolve(graph)
        # A multi-asset is made whole.
        keys = {other for key in keys for other in graph.get(key).execution_set_asset_keys}
    order = [key for level in graph.toposorted_asset_keys_by_level for key in sorted(level) if key in keys]
    partitioned = [key for key in order if graph.get(key).is_partitioned]
    below = set(partitioned)
    after: list[dg.AssetKey] = []
    for key in order:
        if key not in below and graph.get(key).parent_keys & {*partitioned, *after}:
            after.append(key)
    before = [key for key in order if key not in below and key not in after]
    return Plan(
        before=tuple(key.to_user_string() for key in before),
        partitioned=tuple(key.to_user_string() for key in partitioned),
        after=tuple(key.to_user_string() for key in after),
        partitions=partitions,
        run_config=run_config,
    )


def _execute(
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    run_config: Mapping[str, Any],
    sink: ConsoleSink,
    partition: dg.MultiPartitionKey | None = None,
) -> None:
    if not assets:
        return
    graph = defs.resolve_asset_graph()
    keys = {dg.AssetKey(name) for name in assets}
    definitions: set[dg.AssetsDefinition] = {graph.get(key).assets_def for key in keys}
    definitions |= {one for one in CHECKS if any(key.asset_key in keys for key in one.check_keys)}
    ops = {one.op.name for one in definitions}
    resources = set().union(*(one.required_resource_keys for one in definitions))
    config = {
        **SILENT,
        "ops": {name: values for name, values in (run_config.get("ops") or {}).items() if name in ops},
        "resources": {
            name: values for name, values in (run_config.get("resources") or {}).items() if name in resources
        },
    }
    run_id = str(uuid.uuid4())
    try:
        with carried_out(instance, run_id) as process, asleep_while_waiting(instance, sink.begin):
            defs.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance,
                run_config=config,
                asset_selection=[dg.AssetKey(name) for name in assets],
                partition_key=partition,
                run_id=run_id,
                # The daemon could not retry a run that lived in this process.
                tags={"sultana/started_by": "command line", "dagster/max_retries": "0", **process},
            )
    except dg.DagsterError as error:
        failed = _warn(instance, run_id, sink)
        if not failed:
            raise
        raise stopped(failed[0]) from error
    _warn(instance, run_id, sink)


def _warn(instance: dg.DagsterInstance, run_id: str, sink: ConsoleSink) -> list[dg.AssetCheckEvaluation]:
    """Shows the failed checks of a run that do not block; gives back those that do."""
    failed = failed_checks(instance, run_id)
    for one in failed:
        if not stops(one):
            sink.warn(in_words(one))
    return [one for one in failed if stops(one)]


def run_request(request: Request, console: Console) -> None:
    """Carries a request out and shows where it led.

    Raises what the failing step raised, and SultanaError where a check that blocks failed.
    """
    steps = plan(request)
    with open_instance(data_folder()) as instance, drawn_progress(console) as sink:
        for run_id in fail_dead_runs(instance):
            sink.begin(f"run {run_id} had been killed: marked as failed")
        _execute(instance, steps.before, steps.run_config, sink)
        if steps.partitioned:
            for number, partition in enumerate(steps.partitions, 1):
                add_partition(instance, partition)
                sink.begin(f"partition {number}/{len(steps.partitions)}: {partition}")
                _execute(instance, steps.partitioned, steps.run_config, sink, partition)
        _execute(instance, steps.after, steps.run_config, sink)
        if "leaderboard" in steps.after:
            from orchestration.results import show_results

            sink.progress.stop()
            show_results(instance, console, steps.partitions)
        console.print("\nOpen the UI with make ui, then http://127.0.0.1:3000")

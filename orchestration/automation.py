"""Declarative automation: which stages follow their inputs, and how old what people read may be.

A stage follows new data versions, so that materializing the same again starts nothing. It follows only once
it has been made by hand (or by a schedule), so that nobody is surprised by work they have never asked for,
and it is made again with the settings that it was made with; see `refresh.run_config_for`.
"""

import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_shared.record import copy
from dagster_shared.utils.warnings import BetaWarning

from orchestration.refresh import run_config_for

AC = dg.AutomationCondition
FOLLOWERS = (
    "instructions",
    "quarantine",
    "dropped_instructions",
    "instruction_embeddings",
    "interpolated_instructions",
    "diversity_clusters",
    "baseline_evaluation",
    "leaderboard",
    "lineage_manifest",
)
"""Stages that cost little beside training. Training waits for its schedule; sources have their sensor."""

READ_BY_PEOPLE = ("evaluation", "leaderboard", "lineage_manifest")
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=31), warn_window=timedelta(days=8))
"""A warning after a week without training: nothing has changed upstream, or the schedules are off."""

CHANGED: dg.AutomationCondition[Any] = (
    AC.any_deps_match(AC.data_version_changed() | AC.will_be_requested()) | AC.code_version_changed()
)
FOLLOWS = (
    CHANGED.since_last_handled().with_label("inputs have new data, or the code is new")
    & ~AC.missing()
    & ~AC.in_progress()
    & ~AC.any_deps_in_progress()
    & AC.all_deps_blocking_checks_passed()
)


def automated(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets with their automation condition and freshness policy."""

    def completed(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.to_user_string()
        if name in FOLLOWERS:
            spec = spec.replace_attributes(automation_condition=FOLLOWS)
        if name in READ_BY_PEOPLE:
            spec = spec.replace_attributes(freshness_policy=FRESHNESS)
        return spec

    return [one.map_asset_specs(completed) for one in assets]


class FollowingSensor(dg.AutomationConditionSensorDefinition):
    """An automation sensor whose runs have the settings that their assets were last made with.

    Dagster's own starts every run with the defaults: rows would be embedded by another model than before.
    """

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> Any:
        """What to run, with its run configuration."""
        found = super().evaluate_tick(context)
        repository = context.repository_def
        if repository is None:
            raise TypeError("the sensor is evaluated without a repository")
        requests = []
        for request in found.run_requests or []:
            subset = request.asset_graph_subset
            keys = subset.asset_keys if subset is not None else request.asset_selection or []
            names = sorted({key.to_user_string() for key in keys})
            config = run_config_for(context.instance, repository, names, request.partition_key)
            requests.append(request.with_replaced_attrs(run_config=config))
        return copy(found, run_requests=requests)


def _sensor() -> FollowingSensor:
    with warnings.catch_warnings():
        # Evaluated beside the definitions, because only there can a run be given its settings.
        warnings.simplefilter("ignore", BetaWarning)
        return FollowingSensor(
            "cheap_stages_follow",
            target=dg.AssetSelection.assets(*FOLLOWERS),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=30,
            use_user_code_server=True,
            description="Makes stages before training, the leaderboard and manifests again when what they read "
            "has new data. Materializing the same data again starts nothing.",
        )


FOLLOWING = _sensor()

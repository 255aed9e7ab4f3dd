"""The sensor on sources: one run for each change of what the files hold, or of the Hub's newest commit.

Watched are the sources in the settings file that `SULTANA_SETTINGS` names, else those of the last
materialization. The starter corpus does not change, so there is nothing to watch where no source is named.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.evaluation.config import BenchmarkSplitsConfig
from assets.identity import digest
from assets.instructions.changes import Verdict, Watch, content, judge, look
from assets.instructions.config import RawInstructionsConfig
from assets.instructions.specs import SourceSpec
from assets.materialized import materializations
from assets.records import SPLITS
from orchestration.refresh import SETTINGS, refresh_settings, run_config_for
from resources.environment import apply_safe_defaults
from resources.errors import SultanaError

Specs = Mapping[str, Sequence[SourceSpec]] | Sequence[SourceSpec]
WATCHED = ("raw_instructions", "benchmark_splits")


def watched_specs(asset: str, configuration: Mapping[str, Any]) -> Specs:
    """The sources that a configuration of raw_instructions or benchmark_splits names, as they are fingerprinted."""
    if asset == "raw_instructions":
        return [source.spec() for source in RawInstructionsConfig(**configuration).sources]
    config = BenchmarkSplitsConfig(**configuration)
    named = {split: [source.spec() for source in getattr(config, split)] for split in SPLITS}
    return named if any(named.values()) else []


def _configuration(instance: dg.DagsterInstance, asset: str) -> tuple[Mapping[str, Any], str | None]:
    """The configuration whose sources are watched, and the digest of the content that was read last."""
    made = materializations(instance, asset)
    known = digest(made[0].record["settings"]["files"]) if made else None
    settings = refresh_settings()
    if settings is not None:
        ops = settings.run_config.get("ops") or {}
        return (ops.get(asset) or {}).get("config") or {}, known
    return (made[0].record["configuration"] if made else {}), known


def _judge(instance: dg.DagsterInstance, asset: str, watch: Watch) -> Verdict:
    configuration, known = _configuration(instance, asset)
    specs = watched_specs(asset, configuration)
    if not specs:
        if known is None:
            reason = f"never materialized, and {SETTINGS} names no file with sources"
        else:
            reason = "no sources are named: the starter corpus does not change"
        return Verdict(watch, False, reason)
    flat = [spec for group in specs.values() for spec in group] if isinstance(specs, Mapping) else list(specs)
    return judge(watch, lambda: look(flat), lambda: content(specs), known)


@dg.sensor(
    name="sources_have_changed",
    target=dg.AssetSelection.assets(*WATCHED),
    minimum_interval_seconds=30,
    description="Reads sources again when what their files hold has changed, or a dataset of the Hub has a new "
    "commit: one run per change. Touched files and files that are still being written start nothing; a source "
    "that has disappeared is an error of the tick.",
)
def sources_have_changed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """See the description."""
    apply_safe_defaults()
    repository = context.repository_def
    if repository is None:
        raise TypeError("the sensor is evaluated without a repository")
    watches: dict[str, Any] = json.loads(context.cursor or "{}")
    changed: list[str] = []
    reasons: list[str] = []
    problems: list[SultanaError] = []
    for asset in WATCHED:
        try:
            verdict = _judge(context.instance, asset, Watch(**watches.get(asset, {})))
        except SultanaError as error:
            problems.append(error)
            context.log.warning(f"{asset}: {error}")
            continue
        watches[asset] = verdict.watch.to_json()
        reasons.append(f"{asset}: {verdict.reason}")
        if verdict.read:
            changed.append(asset)
    cursor = json.dumps(watches, sort_keys=True)
    if problems and not changed and cursor == (context.cursor or "{}"):
        # Not while another source is being looked at: a tick that fails forgets what it saw.
        raise problems[0]
    if not changed:
        return dg.SensorResult(skip_reason="; ".join(reasons), cursor=cursor)
    key = digest([[asset, watches[asset]["requested"], watches[asset]["requests"]] for asset in changed])
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=key[:32],
                asset_selection=[dg.AssetKey(asset) for asset in changed],
                run_config=run_config_for(context.instance, repository, changed),
                tags={"sultana/started_because": "; ".join(reasons)},
            )
        ],
        cursor=cursor,
    )

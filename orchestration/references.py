"""Which versions of tables something depends on: a registered model, the newest of each asset, a promotion.

Every dependency is followed to its end by the pointers that each materialization recorded. Where one cannot be
followed nothing is known of what lies behind it, and nothing may be reclaimed.
"""

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.materialized import Materialized, every_materialization
from assets.records import PROMOTIONS
from orchestration.chains import stored_manifest
from orchestration.registered import PARTITION_TAG, find_registered
from resources.errors import SultanaError
from resources.table_cleanup import Version
from resources.tables import LanceTables

if TYPE_CHECKING:
    from resources.tracking import Tracking

SIBLINGS = ("dropped_instructions", "quarantine")
"""What was written with the instructions and is read by none of what follows: a trace of a row needs it."""

Roots = dict[int, str]
"""Place of a materialization in the event log -> why it is kept."""


def referenced(
    instance: dg.DagsterInstance,
    tables: LanceTables,
    tracking: "Tracking",
    since: datetime.datetime,
) -> dict[Version, str]:
    """Every table version that something depends on, and what.

    That is the chain of each registered version, by Dagster or by its manifest in MLflow; of the newest
    materialization of each asset or partition, and the one before it that checks compare it with; of each
    materialization since `since`; and of what promotions rest on. Raises SultanaError where a chain is broken or the
    registry cannot be read.
    """
    found = {
        made.storage_id: made
        for key in instance.all_asset_keys()
        for made in every_materialization(instance, key.to_user_string())
    }
    versions = {name: _versions(tracking, name) for name in tracking.models()}
    # The first that names a version is what is told of it.
    roots: Roots = dict(_registered(found, versions))
    for more in (_promoted(tables, found), _newest(found), _young(found, since)):
        for place, why in more:
            roots.setdefault(place, why)
    held: dict[Version, str] = {}
    seen: set[int] = set()
    for place, why in roots.items():
        for made in _chain(found, place, seen):
            for ref in made.record["tables"].values():
                held.setdefault((ref["table"], int(ref["version"])), why)
    for version, why in _unrecorded(tables, tracking, found, versions):
        held.setdefault(version, why)
    return held


def _versions(tracking: "Tracking", name: str) -> dict[int, Any]:
    return {int(one.version): one for one in tracking.versions(name)}


def _registered(
    found: Mapping[int, Materialized], versions: Mapping[str, Mapping[int, Any]]
) -> Iterator[tuple[int, str]]:
    """Checkpoints and evaluations of registered versions, and of models that another registry may hold."""
    for place, made in sorted(found.items()):
        facts = made.record["facts"]
        if made.asset not in ("checkpoint", "evaluation"):
            continue
        name, version = facts["model"], facts["version"]
        if name not in versions or version in versions[name]:
            yield place, f"{name} version {version}"


def _promoted(tables: LanceTables, found: Mapping[int, Materialized]) -> Iterator[tuple[int, str]]:
    ref = tables.head(PROMOTIONS.table)
    rows = tables.read(ref, columns=["evidence"])["evidence"].to_pylist() if ref else []
    for evidence in map(json.loads, rows):
        for side in ("candidate", "against"):
            pointer = (evidence.get(side) or {}).get("materialization")
            if pointer and pointer["storage_id"] in found:
                yield pointer["storage_id"], f"a promotion rests on it ({evidence[side]['title']})"


def _newest(found: Mapping[int, Materialized]) -> Iterator[tuple[int, str]]:
    """Of each asset and partition the newest, and the one before it that another run made."""
    last: dict[tuple[str, str | None], str] = {}
    before: set[tuple[str, str | None]] = set()
    for place, made in sorted(found.items(), reverse=True):
        key, by = (made.asset, made.partition), made.record["made_by_run"]
        title = f"{made.asset} {made.partition}" if made.partition else made.asset
        if key not in last:
            last[key] = by
            yield place, f"newest materialization of {title}"
        elif key not in before and by != last[key]:
            before.add(key)
            yield place, f"what the checks of {title} compare with"


def _young(found: Mapping[int, Materialized], since: datetime.datetime) -> Iterator[tuple[int, str]]:
    for place, made in sorted(found.items(), reverse=True):
        if made.timestamp >= since.timestamp():
            yield place, f"materialized within the retention age ({made.asset})"


def _chain(found: Mapping[int, Materialized], root: int, seen: set[int]) -> Iterator[Materialized]:
    """A materialization and all that it was made from, with what was written beside its instructions.

    What is `seen` is left out, and added to by what is told.
    """
    waiting = [found[root]]
    while waiting:
        made = waiting.pop()
        if made.storage_id in seen:
            continue
        seen.add(made.storage_id)
        yield made
        for pointer in made.record["upstream"].values():
            if pointer["storage_id"] not in found:
                raise SultanaError(
                    f"Dagster no longer knows materialization {pointer['storage_id']} of '{pointer['asset']}', which "
                    f"'{made.asset}' was made from: what it needs is not known",
                    "Nothing was reclaimed; restore the Dagster instance from a backup, or materialize "
                    f"'{made.asset}' again",
                    code="history-missing",
                )
            waiting.append(found[pointer["storage_id"]])
        if made.asset in ("instructions", "raw_instructions"):
            waiting += [
                one
                for one in found.values()
                if one.asset in SIBLINGS and one.record["made_by_run"] == made.record["made_by_run"]
            ]


def _unrecorded(
    tables: LanceTables,
    tracking: "Tracking",
    found: Mapping[int, Materialized],
    versions: Mapping[str, Mapping[int, Any]],
) -> Iterator[tuple[Version, str]]:
    """What versions need that Dagster no longer knows, by their manifests in MLflow; refuses one of ours without."""
    recorded = {
        (made.record["facts"]["model"], made.record["facts"]["version"])
        for made in found.values()
        if made.asset == "checkpoint"
    }
    for name, numbers in versions.items():
        for number, version in numbers.items():
            if (name, number) in recorded or not _is_ours(tables, tracking, version):
                continue
            manifest = stored_manifest(tracking, find_registered(tracking, f"{name}/{number}"))
            if manifest is None:
                raise SultanaError(
                    f"Dagster does not know the checkpoint that {name} version {number} was registered from, and it "
                    "has no lineage manifest: what it needs is not known",
                    "Nothing was reclaimed; restore the Dagster instance from a backup, or delete the version from "
                    "the registry if it is not needed",
                    code="history-missing",
                )
            for one in manifest["materializations"]:
                for ref in one["tables"].values():
                    yield (ref["table"], int(ref["version"])), f"{name} version {number}"


def _is_ours(tables: LanceTables, tracking: "Tracking", version: Any) -> bool:
    """Whether a version was trained from tables of this folder, wherever it lay then; a registry can serve several."""
    if PARTITION_TAG not in version.tags:
        return False
    with tracking.client() as client:
        inputs = client.get_run(version.run_id).inputs.dataset_inputs
    for source in (json.loads(one.dataset.source) for one in inputs):
        history = tables.versions(Path(source["uri"]).stem)
        if any((one.version, one.digest) == (source["version"], source["digest"]) for one in history):
            return True
    return False

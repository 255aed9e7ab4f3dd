"""What lies in the data folder and nothing refers to. It is told, never removed: a person knows what it was for."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.materialized import every_materialization
from orchestration.diagnosis.leftovers import LEFT_SECONDS, STAGED, last_change, matching
from resources.definitions import Storage

if TYPE_CHECKING:
    from resources.tracking import Tracking

HALF_WRITTEN = "left half-written by a command that was killed"
TRAINING = "state of a training that did not end; the same run goes on from it"
SELECTION = "state of a selection that did not end; the same run goes on from it"
POLICY = "a trained policy that no curriculum in the event log names"
MODEL = "model files that no registered version has"


def left_over(instance: dg.DagsterInstance, tracking: "Tracking", storage: Storage) -> list[dict[str, Any]]:
    """Files and folders that nothing refers to and that have not changed for a day, the largest first.

    Each as JSON values: path, bytes and what it is.
    """
    now = time.time()
    found = [
        {"path": str(path), "bytes": _bytes(path), "what": what}
        for path, what in _candidates(instance, tracking, storage)
        if now - last_change(path) > LEFT_SECONDS
    ]
    return sorted(found, key=lambda one: (-int(str(one["bytes"])), str(one["path"])))


def _candidates(
    instance: dg.DagsterInstance, tracking: "Tracking", storage: Storage
) -> Iterator[tuple[Path, str]]:
    root = storage.path()
    staged = {path for path in matching(root, STAGED) if not path.name.endswith(".lock")}
    yield from ((path, HALF_WRITTEN) for path in sorted(staged))
    for pattern, what in (("checkpoints/*", TRAINING), ("selection/*", SELECTION)):
        yield from ((path, what) for path in matching(root, (pattern,)) if not path.name.startswith("."))
    named = {made.record["inputs_digest"][:32] for made in every_materialization(instance, "curriculum")}
    for path in matching(root, ("policies/*",)):
        if path not in staged and path.name not in named:
            yield path, POLICY
    sources = {str(version.source) for name in tracking.models() for version in tracking.versions(name)}
    for path in matching(root, ("mlflow/artifacts/*/models/m-*",)):
        # A version's source ends in the id of its logged model, however it is addressed.
        if not any(path.name in source for source in sources):
            yield path, MODEL


def _bytes(path: Path) -> int:
    return sum(
        one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file() and not one.is_symlink()
    )

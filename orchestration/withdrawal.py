"""What a retraction means for registered versions: they carry a tag, and lose the alias champion.

The champion is then the newest earlier one that was trained on nothing retracted, or none. That is a decision
among those about the model, and `sultana rollback` goes on from it.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.instructions.retractions import Retraction, Standing
from assets.lineage.promotion import read_history, standing_promotions
from orchestration.promotion import LOCK_SECONDS, decide
from orchestration.registered import find_registered
from orchestration.retraction_models import held_by_version, sights
from resources.definitions import data_folder
from resources.errors import SultanaError
from resources.files import exclusive_lock
from resources.tables import LanceTables
from resources.tracking import CHAMPION, Tracking

TAG = "sultana.retraction"


def tag_of(retraction: Retraction) -> str:
    """The tag of a model version that names a retraction."""
    return f"{TAG}.{retraction.retraction_id}"


def tag_versions(
    instance: dg.DagsterInstance,
    tables: LanceTables,
    tracking: Tracking,
    stands: Standing,
    retraction: Retraction,
) -> list[dict[str, Any]]:
    """Tags every version that was trained on what is retracted; which, and with how much of it."""
    found = []
    for sight in sights(instance, tables, tracking, stands):
        for held in sight.held:
            if held.retraction != retraction:
                continue
            told = (
                f"trained on {len(held.instructions)} instructions of {retraction.title}: {retraction.reason}"
            )
            tracking.set_version_tags(sight.model, sight.version, {tag_of(retraction): told[:4000]})
            found.append(sight.to_json())
    return found


def lift_tags(tracking: Tracking, lifted: Retraction, decided: Mapping[str, Any]) -> list[str]:
    """Says in the tags of a retraction that it does not stand any more; the versions that carry one."""
    found = []
    told = f"lifted {decided['decided_at'].isoformat(timespec='seconds')}: {decided['reason']}"
    for name in tracking.models():
        for version in tracking.versions(name):
            if tag_of(lifted) in version.tags:
                tracking.set_version_tags(name, int(version.version), {tag_of(lifted): told[:4000]})
                found.append(f"{name} version {version.version}")
    return found


def withdraw_champions(
    instance: dg.DagsterInstance,
    tables: LanceTables,
    tracking: Tracking,
    stands: Standing,
    retraction: Retraction,
) -> list[dict[str, Any]]:
    """Takes the alias from every champion that was trained on what is retracted; the decisions about it.

    A version whose lineage is not known here does not become champion again.
    """
    decided = []
    hit = {
        (one.model, one.version)
        for one in sights(instance, tables, tracking, stands)
        if CHAMPION in one.aliases and any(held.retraction == retraction for held in one.held)
    }
    for name, present in sorted(hit):
        with exclusive_lock(data_folder() / "locks" / f"promotion-{name}.lock", LOCK_SECONDS):
            passed_over: list[int] = []
            target = None
            for promotion in reversed(standing_promotions(read_history(tables, name))):
                version = promotion.version
                if version is None or version == present:
                    continue
                if _is_clean(instance, tables, tracking, name, version):
                    target = version
                    break
                passed_over.append(version)
            decided.append(
                decide(
                    tracking,
                    tables,
                    name,
                    {
                        "action": "withdraw",
                        "version": target,
                        "previous_version": present,
                        "forced": False,
                        "reason": f"{retraction.title} was retracted: {retraction.reason}",
                        "rule": {"champion": "the newest earlier one that was trained on nothing retracted"},
                        "evidence": {"retraction": retraction.retraction_id, "passed_over": passed_over},
                    },
                )
            )
    return decided


def _is_clean(
    instance: dg.DagsterInstance, tables: LanceTables, tracking: Tracking, name: str, version: int
) -> bool:
    """Whether a version is there, its lineage known, and nothing that it was trained on retracted."""
    try:
        model = find_registered(tracking, f"{name}/{version}")
    except SultanaError:
        return False
    return held_by_version(instance, tables, model) == ()

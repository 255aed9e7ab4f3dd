"""What asset checks found: warnings for the terminal, and what a check that blocks has stopped, with the reason."""

from collections.abc import Iterable

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
)

from resources.errors import SultanaError


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetCheckEvaluation]:
    """The checks of a run that failed, in order."""
    events = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    found = [
        one.event_log_entry.dagster_event.asset_check_evaluation_data
        for one in events
        if one.event_log_entry.dagster_event is not None
    ]
    return [one for one in found if not one.passed]


def stops(found: dg.AssetCheckEvaluation) -> bool:
    """Whether a failed check keeps everything downstream from running."""
    return bool(found.blocking) and found.severity is dg.AssetCheckSeverity.ERROR


def blocked(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, assets: Iterable[str]
) -> dg.AssetCheckEvaluation | None:
    """A check that blocks of something that `assets` read, where it failed when it last ran; None where none did."""
    graph = repository.asset_graph
    made = {dg.AssetKey(name) for name in assets}
    read = {parent for key in made for parent in graph.get(key).parent_keys} - made
    for check in sorted(graph.get_check_keys_for_assets(read), key=str):
        for record in instance.event_log_storage.get_asset_check_execution_history(
            check, limit=1, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
        ):
            found = record.evaluation
            if found is not None and not found.passed and stops(found):
                return found
    return None


def in_words(found: dg.AssetCheckEvaluation) -> str:
    """A failed check as one line."""
    return f"{found.asset_key.to_user_string()}, check {found.check_name}: {found.description}"


def stopped(found: dg.AssetCheckEvaluation) -> SultanaError:
    """What is said of a run that a check has ended."""
    return SultanaError(
        f"The check {found.check_name} of {found.asset_key.to_user_string()} failed, and nothing that depends on it "
        f"was made. {found.description}",
        "Then run the same command again",
        code="check-failed",
    )

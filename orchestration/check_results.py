"""What the asset checks of a run found: warnings for the terminal, and of a run that a check ended, the reason."""

import dagster as dg

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


def in_words(found: dg.AssetCheckEvaluation) -> str:
    """A failed check as one line."""
    return f"{found.asset_key.to_user_string()}, check {found.check_name}: {found.description}"


def stopped(found: dg.AssetCheckEvaluation) -> SultanaError:
    """What is said of a run that a check has ended."""
    return SultanaError(
        f"The check {found.check_name} of {found.asset_key.to_user_string()} failed, and nothing that depends on it "
        f"was made. {found.description}",
        "Then run the same command again",
    )

"""Audits, proofs, traces and retractions as jobs of the Dagster UI: one op each, run from the Launchpad."""

from pathlib import Path

import dagster as dg

from assets.failures import explained_op
from orchestration.command_jobs import command_job, tell_shown
from orchestration.model_job_config import (
    AuditConfig,
    LiftConfig,
    ProveConfig,
    RetractConfig,
    TraceConfig,
)
from resources.definitions import ModelRegistry
from resources.errors import SultanaError


@dg.op
@explained_op
def audit_version(context: dg.OpExecutionContext, config: AuditConfig, registry: ModelRegistry) -> None:
    """What went into a version: its chain, sources, licences, tasks and most used rows."""
    from orchestration.audit_shown import show_audit
    from orchestration.auditing import audit, holds

    rows = Path(config.rows_file) if config.rows_file else None
    found = audit(
        config.model,
        rows,
        Path(config.page_file) if config.page_file else None,
        verified=config.verify,
        every_row=config.every_row,
        replayed=config.replay,
        say=context.log.info,
        tracking_uri=registry.tracking_uri,
    )
    tell_shown(context, found, show_audit)
    if not holds(found):
        raise SultanaError(
            f"What is stored behind {config.model} is not what was recorded, or it does not train to the same weights",
            "See what differs, and what to do, in the log of this run",
            code="audit-failed",
        )


@dg.op
@explained_op
def prove_one_row(context: dg.OpExecutionContext, config: ProveConfig, registry: ModelRegistry) -> None:
    """A proof that a row was, or was not, in a version's training set, with the script that checks it."""
    from orchestration.audit_shown import show_proof
    from orchestration.proving import prove

    found = prove(config.model, config.row, Path(config.out_folder), tracking_uri=registry.tracking_uri)
    tell_shown(context, found, show_proof)


@dg.op
@explained_op
def trace_one_row(context: dg.OpExecutionContext, config: TraceConfig, registry: ModelRegistry) -> None:
    """Where a row went: kept or dropped and why, mixed with whom, chosen when, which models saw it."""
    from orchestration.text_tracing import trace_text
    from orchestration.trace_shown import show_trace
    from orchestration.tracing import trace

    if bool(config.row) == bool(config.text):
        raise SultanaError(
            "Either a row or a text is traced",
            "Fill in one of the settings row and text",
            code="settings-conflict",
        )
    if config.row:
        found = trace(config.row, registry.tracking_uri)
    else:
        found = trace_text(config.text, config.match, registry.tracking_uri)
    tell_shown(context, found, show_trace)


@dg.op
@explained_op
def retract_rows(context: dg.OpExecutionContext, config: RetractConfig, registry: ModelRegistry) -> None:
    """Rows that may not be trained on any more: a decision on the record, and what follows from it."""
    from orchestration.retracting import Request, plan, retract
    from orchestration.retraction_shown import show_retraction

    request = Request(
        tuple(config.rows),
        config.source,
        config.licence,
        config.file,
        config.reason,
        config.erase,
        config.keep_champion,
        by="UI",
    )
    found = (plan if config.dry_run else retract)(request, registry.tracking_uri)
    tell_shown(context, found, show_retraction)


@dg.op
@explained_op
def lift_retraction(context: dg.OpExecutionContext, config: LiftConfig, registry: ModelRegistry) -> None:
    """Lifts a retraction, by a decision of its own."""
    from orchestration.retracting import undo_retraction
    from orchestration.retraction_shown import show_lifted

    found = undo_retraction(config.retraction, config.reason, registry.tracking_uri, by="UI")
    tell_shown(context, found, show_lifted)


@dg.op
@explained_op
def list_retractions(context: dg.OpExecutionContext) -> None:
    """Every retraction: which stand, which were lifted, by whom, when and why."""
    from orchestration.retracting import history
    from orchestration.retraction_shown import show_history

    found = history()
    tell_shown(context, found, show_history)


AUDIT_JOBS = [
    command_job(audit_version, "audit_model", "audit"),
    command_job(trace_one_row, "trace_row", "trace"),
    command_job(prove_one_row, "prove_row", "prove"),
    command_job(retract_rows, "retract", "retract"),
    command_job(lift_retraction, "lift_a_retraction", "retract"),
    command_job(list_retractions, "show_retractions", "retractions"),
]

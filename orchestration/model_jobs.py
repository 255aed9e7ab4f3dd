"""What the commands about registered models do, as jobs of the Dagster UI: one op each, run from the Launchpad.

Every job calls what its command calls, with the store that the resource `registry` names. What a command prints
stands in the run's log, what it answers with `--json` in the metadata of the op's output.
"""

import io
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console

from assets.presentation import table
from orchestration.model_job_config import (
    AuditConfig,
    CompareConfig,
    DoctorConfig,
    ExportConfig,
    ExportLineageConfig,
    ExportModelConfig,
    GenerateConfig,
    LiftConfig,
    MaintainConfig,
    PromoteConfig,
    ProveConfig,
    ReportConfig,
    RetractConfig,
    RollbackConfig,
    TraceConfig,
)
from resources.definitions import ModelRegistry
from resources.errors import SultanaError


def _console() -> Console:
    return Console(file=io.StringIO(), width=140, highlight=False)


def _tell(context: dg.OpExecutionContext, console: Console, answer: dict[str, Any]) -> None:
    text = console.file.getvalue()  # type: ignore[attr-defined]
    context.log.info(text)
    context.add_output_metadata({"answer": dg.MetadataValue.json(answer)})


@dg.op
def compare_versions(context: dg.OpExecutionContext, config: CompareConfig, registry: ModelRegistry) -> None:
    """What changed between two registered versions, down to rows, and their scores with paired intervals."""
    from orchestration.comparing import compare_versions as compare
    from orchestration.comparison_shown import show_comparison

    console = _console()
    rows = Path(config.rows_file) if config.rows_file else None
    found = compare(config.ours, config.theirs, registry.tracking_uri, rows)
    show_comparison(found, console)
    _tell(context, console, found)


@dg.op
def report_version(context: dg.OpExecutionContext, config: ReportConfig, registry: ModelRegistry) -> None:
    """One HTML file about a version, kept as `report.html` with its MLflow run."""
    from orchestration.reporting import attach_report

    console = _console()
    told = attach_report(config.model, console, tracking_uri=registry.tracking_uri)
    _tell(context, console, told)
    _observe(context, told["partition"], told)


@dg.op
def promote_version(context: dg.OpExecutionContext, config: PromoteConfig, registry: ModelRegistry) -> None:
    """Makes a version the champion where the rule holds; the decision, its evidence and a report are kept."""
    from assets.lineage.promotion import PromotionRule
    from orchestration.promotion import promote

    console = _console()
    rule = PromotionRule(
        config.loss_margin,
        config.accuracy_margin,
        config.loss_tolerance,
        config.accuracy_tolerance,
        tuple(sorted(set(config.guards))),
    )
    told = promote(
        config.model,
        rule,
        console,
        force=config.force,
        reason=config.reason,
        tracking_uri=registry.tracking_uri,
    )
    _tell(context, console, told)


@dg.op
def roll_back_version(
    context: dg.OpExecutionContext, config: RollbackConfig, registry: ModelRegistry
) -> None:
    """Takes the last promotion that stands back."""
    from orchestration.promotion import rollback

    console = _console()
    told = rollback(config.model, console, reason=config.reason, tracking_uri=registry.tracking_uri)
    _tell(context, console, told)


@dg.op(pool="device")
def ask_version(context: dg.OpExecutionContext, config: GenerateConfig, registry: ModelRegistry) -> None:
    """One question to a registered version; its reply stands in the log and in the metadata."""
    from orchestration.generate import Sampling, open_chat
    from resources.text import escape_lines

    sampling = Sampling(config.seed, config.temperature, config.maximum_new_tokens)
    reply = open_chat(config.model, sampling, registry.tracking_uri).reply(config.prompt, len)
    console = _console()
    console.print(escape_lines(reply), markup=False)
    _tell(context, console, {"prompt": config.prompt, "reply": reply})


@dg.op
def write_curated_set(context: dg.OpExecutionContext, config: ExportConfig) -> None:
    """The representatives, or the rows of one curriculum, with a card and a loader."""
    from orchestration.export import export

    console = _console()
    _tell(
        context,
        console,
        export(Path(config.out_folder), config.format, config.strategy, config.seed, console),
    )


@dg.op(pool="device")
def write_model(context: dg.OpExecutionContext, config: ExportModelConfig, registry: ModelRegistry) -> None:
    """A registered version with a model card, its files hashed first."""
    from orchestration.model_export import export_model

    console = _console()
    about = export_model(
        config.model,
        Path(config.out_folder),
        console,
        merge=config.merge,
        tracking_uri=registry.tracking_uri,
    )
    _tell(context, console, about)


@dg.op
def write_lineage_of_version(
    context: dg.OpExecutionContext, config: ExportLineageConfig, registry: ModelRegistry
) -> None:
    """Where a version comes from: OpenLineage, CycloneDX and Croissant files, cards, and the rows."""
    from orchestration.lineage_export import export_lineage

    console = _console()
    found = export_lineage(config.model, Path(config.out_folder), console, tracking_uri=registry.tracking_uri)
    _tell(context, console, found)


@dg.op
def audit_version(context: dg.OpExecutionContext, config: AuditConfig, registry: ModelRegistry) -> None:
    """What went into a version: its chain, sources, licences, tasks and most used rows."""
    from orchestration.audit_shown import show_audit
    from orchestration.auditing import audit, holds

    console = _console()
    rows = Path(config.rows_file) if config.rows_file else None
    found = audit(
        config.model,
        rows,
        Path(config.page_file) if config.page_file else None,
        verified=config.verify,
        replayed=config.replay,
        say=context.log.info,
        tracking_uri=registry.tracking_uri,
    )
    show_audit(found, console)
    _tell(context, console, found)
    if not holds(found):
        raise SultanaError(
            f"What is stored behind {config.model} is not what was recorded, or it does not train to the same weights",
            "See what differs, and what to do, in the log of this run",
        )


@dg.op
def prove_one_row(context: dg.OpExecutionContext, config: ProveConfig, registry: ModelRegistry) -> None:
    """A proof that a row was, or was not, in a version's training set, with the script that checks it."""
    from orchestration.audit_shown import show_proof
    from orchestration.proving import prove

    console = _console()
    found = prove(config.model, config.row, Path(config.out_folder), tracking_uri=registry.tracking_uri)
    show_proof(found, console)
    _tell(context, console, found)


@dg.op
def trace_one_row(context: dg.OpExecutionContext, config: TraceConfig, registry: ModelRegistry) -> None:
    """Where a row went: kept or dropped and why, mixed with whom, chosen when, which models saw it."""
    from orchestration.text_tracing import trace_text
    from orchestration.trace_shown import show_trace
    from orchestration.tracing import trace

    if bool(config.row) == bool(config.text):
        raise SultanaError("Either a row or a text is traced", "Fill in one of the settings row and text")
    console = _console()
    if config.row:
        found = trace(config.row, registry.tracking_uri)
    else:
        found = trace_text(config.text, config.match, registry.tracking_uri)
    show_trace(found, console)
    _tell(context, console, found)


@dg.op
def retract_rows(context: dg.OpExecutionContext, config: RetractConfig, registry: ModelRegistry) -> None:
    """Rows that may not be trained on any more: a decision on the record, and what follows from it."""
    from orchestration.retracting import Request, plan, retract
    from orchestration.retraction_shown import show_retraction

    console = _console()
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
    show_retraction(found, console)
    _tell(context, console, found)


@dg.op
def lift_retraction(context: dg.OpExecutionContext, config: LiftConfig, registry: ModelRegistry) -> None:
    """Lifts a retraction, by a decision of its own."""
    from orchestration.retracting import undo_retraction
    from orchestration.retraction_shown import show_lifted

    console = _console()
    found = undo_retraction(config.retraction, config.reason, registry.tracking_uri, by="UI")
    show_lifted(found, console)
    _tell(context, console, found)


@dg.op
def list_retractions(context: dg.OpExecutionContext) -> None:
    """Every retraction: which stand, which were lifted, by whom, when and why."""
    from orchestration.retracting import history
    from orchestration.retraction_shown import show_history

    console = _console()
    found = history()
    show_history(found, console)
    _tell(context, console, found)


@dg.op
def examine_machine(context: dg.OpExecutionContext, config: DoctorConfig) -> None:
    """What `sultana doctor` examines; fails where it finds a problem."""
    from orchestration.doctor import examine, show_examination

    console = _console()
    found = examine(config.port)
    show_examination(found, console)
    _tell(context, console, found)
    if found["problems"]:
        raise SultanaError(
            f"{found['problems']} problems were found on this machine",
            "Mend them as the log of this run says",
        )


@dg.op
def maintain_versions(
    context: dg.OpExecutionContext, config: MaintainConfig, registry: ModelRegistry
) -> None:
    """Removes versions of tables that nothing depends on, and says what that freed; not while a run is in progress."""
    from orchestration.maintenance import maintain, show_maintenance

    console = _console()
    found = maintain(
        older_than=config.older_than_days,
        dry_run=config.dry_run,
        compact=config.compact,
        run_id=context.run_id,
        tracking_uri=registry.tracking_uri,
    )
    show_maintenance(found, console)
    _tell(context, console, found)
    freed = [
        {
            "table": one["table"],
            "versions_removed": len(one["removed"]),
            "bytes_freed": one["freed_bytes"],
            "versions_kept": len(one["kept"]),
        }
        for one in found["tables"]
    ]
    context.add_output_metadata({"freed": table(freed), "freed_bytes": found["freed_bytes"]})


def _observe(context: dg.OpExecutionContext, partition: str, told: dict[str, Any]) -> None:
    """Shows where the report lies on the page of the checkpoint that it is about."""
    context.log_event(
        dg.AssetObservation(
            asset_key="checkpoint",
            partition=partition,
            metadata={
                "report": f"{told['artifact']} of MLflow run {told['mlflow_run_id']}",
                "model": f"{told['model']} version {told['version']}",
            },
        )
    )


def _job(op: dg.OpDefinition, name: str, command: str) -> dg.JobDefinition:
    return dg.GraphDefinition(name=name, node_defs=[op], description=op.description).to_job(
        tags={"sultana/command": command}, executor_def=dg.in_process_executor
    )


MAINTENANCE = _job(maintain_versions, "maintain_tables", "maintain")
MODEL_JOBS = [
    _job(compare_versions, "compare_models", "compare"),
    _job(report_version, "report_model", "report"),
    _job(promote_version, "promote_model", "promote"),
    _job(roll_back_version, "roll_back_model", "rollback"),
    _job(audit_version, "audit_model", "audit"),
    _job(trace_one_row, "trace_row", "trace"),
    _job(prove_one_row, "prove_row", "prove"),
    _job(retract_rows, "retract", "retract"),
    _job(lift_retraction, "lift_a_retraction", "retract"),
    _job(list_retractions, "show_retractions", "retractions"),
    _job(ask_version, "ask_model", "generate"),
    _job(write_curated_set, "export_instructions", "export"),
    _job(write_model, "export_model", "export-model"),
    _job(write_lineage_of_version, "export_lineage_of_model", "export-lineage"),
    _job(examine_machine, "examine_this_machine", "doctor"),
    MAINTENANCE,
]

"""What the commands about registered models do, as jobs of the Dagster UI: one op each, run from the Launchpad."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.failures import explained_op
from assets.presentation import table
from orchestration.audit_jobs import AUDIT_JOBS
from orchestration.command_jobs import command_job, new_console, tell, tell_shown
from orchestration.model_job_config import (
    BackupConfig,
    CompareConfig,
    DoctorConfig,
    ExportConfig,
    ExportLineageConfig,
    ExportModelConfig,
    GenerateConfig,
    MaintainConfig,
    PromoteConfig,
    ReportConfig,
    RollbackConfig,
)
from resources.definitions import ModelRegistry
from resources.errors import SultanaError


@dg.op
@explained_op
def compare_versions(context: dg.OpExecutionContext, config: CompareConfig, registry: ModelRegistry) -> None:
    """What changed between two registered versions, down to rows, and their scores with paired intervals."""
    from orchestration.comparing import compare_versions as compare
    from orchestration.comparison_shown import show_comparison

    rows = Path(config.rows_file) if config.rows_file else None
    found = compare(config.ours, config.theirs, registry.tracking_uri, rows)
    tell_shown(context, found, show_comparison)


@dg.op
@explained_op
def report_version(context: dg.OpExecutionContext, config: ReportConfig, registry: ModelRegistry) -> None:
    """One HTML file about a version, kept as `report.html` with its MLflow run."""
    from orchestration.reporting import attach_report

    console = new_console()
    told = attach_report(config.model, console, tracking_uri=registry.tracking_uri)
    tell(context, console, told)
    _observe(context, told["partition"], told)


@dg.op
@explained_op
def promote_version(context: dg.OpExecutionContext, config: PromoteConfig, registry: ModelRegistry) -> None:
    """Makes a version the champion where the rule holds; the decision, its evidence and a report are kept."""
    from assets.lineage.promotion import PromotionRule
    from orchestration.promotion import promote

    console = new_console()
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
    tell(context, console, told)


@dg.op
@explained_op
def roll_back_version(
    context: dg.OpExecutionContext, config: RollbackConfig, registry: ModelRegistry
) -> None:
    """Takes the last promotion that stands back."""
    from orchestration.promotion import rollback

    console = new_console()
    told = rollback(config.model, console, reason=config.reason, tracking_uri=registry.tracking_uri)
    tell(context, console, told)


@dg.op(pool="device")
@explained_op
def ask_version(context: dg.OpExecutionContext, config: GenerateConfig, registry: ModelRegistry) -> None:
    """One question to a registered version; its reply stands in the log and in the metadata."""
    from orchestration.generate import Sampling, open_chat
    from resources.text import escape_lines

    sampling = Sampling(config.seed, config.temperature, config.maximum_new_tokens)
    reply = open_chat(config.model, sampling, registry.tracking_uri).reply(config.prompt, len)
    console = new_console()
    console.print(escape_lines(reply), markup=False)
    tell(context, console, {"prompt": config.prompt, "reply": reply})


@dg.op
@explained_op
def write_curated_set(context: dg.OpExecutionContext, config: ExportConfig) -> None:
    """The representatives, or the rows of one curriculum, with a card and a loader."""
    from orchestration.export import export

    console = new_console()
    tell(
        context,
        console,
        export(Path(config.out_folder), config.format, config.strategy, config.seed, console),
    )


@dg.op(pool="device")
@explained_op
def write_model(context: dg.OpExecutionContext, config: ExportModelConfig, registry: ModelRegistry) -> None:
    """A registered version with a model card, its files hashed first."""
    from orchestration.model_export import export_model

    console = new_console()
    about = export_model(
        config.model,
        Path(config.out_folder),
        console,
        merge=config.merge,
        tracking_uri=registry.tracking_uri,
    )
    tell(context, console, about)


@dg.op
@explained_op
def write_lineage_of_version(
    context: dg.OpExecutionContext, config: ExportLineageConfig, registry: ModelRegistry
) -> None:
    """Where a version comes from: OpenLineage, CycloneDX and Croissant files, cards, and the rows."""
    from orchestration.lineage_export import export_lineage

    console = new_console()
    found = export_lineage(config.model, Path(config.out_folder), console, tracking_uri=registry.tracking_uri)
    tell(context, console, found)


@dg.op
@explained_op
def examine_machine(context: dg.OpExecutionContext, config: DoctorConfig) -> None:
    """What `sultana doctor` examines and, where it is asked to, repairs; fails where a problem is left."""
    from orchestration.doctor import examine, show_examination
    from orchestration.repairing import repair

    found = repair(config.port, context.run_id) if config.repair else examine(config.port)
    tell_shown(context, found, show_examination)
    if found["problems"]:
        raise SultanaError(
            f"{found['problems']} problems were found on this machine",
            "Mend them as the log of this run says",
            code="doctor-found-problems",
        )


@dg.op
@explained_op
def maintain_versions(
    context: dg.OpExecutionContext, config: MaintainConfig, registry: ModelRegistry
) -> None:
    """Removes versions of tables that nothing depends on, and says what that freed; not while a run is in progress."""
    from orchestration.maintenance import maintain, show_maintenance

    found = maintain(
        older_than=config.older_than_days,
        dry_run=config.dry_run,
        compact=config.compact,
        run_id=context.run_id,
        tracking_uri=registry.tracking_uri,
    )
    tell_shown(context, found, show_maintenance)
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


@dg.op
@explained_op
def back_up_data(context: dg.OpExecutionContext, config: BackupConfig, registry: ModelRegistry) -> None:
    """A verified copy of the data folder as it is at one moment. Restoring needs an empty one: `sultana restore`."""
    from orchestration.backing_up import back_up, show_backup

    tell_shown(context, back_up(Path(config.folder), registry.tracking_uri), show_backup)


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


MAINTENANCE = command_job(maintain_versions, "maintain_tables", "maintain")
MODEL_JOBS = [
    command_job(compare_versions, "compare_models", "compare"),
    command_job(report_version, "report_model", "report"),
    command_job(promote_version, "promote_model", "promote"),
    command_job(roll_back_version, "roll_back_model", "rollback"),
    command_job(ask_version, "ask_model", "generate"),
    command_job(write_curated_set, "export_instructions", "export"),
    command_job(write_model, "export_model", "export-model"),
    command_job(write_lineage_of_version, "export_lineage_of_model", "export-lineage"),
    command_job(examine_machine, "examine_this_machine", "doctor"),
    command_job(back_up_data, "back_up_data_folder", "backup"),
    MAINTENANCE,
    *AUDIT_JOBS,
]

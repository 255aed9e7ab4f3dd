"""What the commands about registered models do, as jobs of the Dagster UI: one op each, run from the Launchpad.

Every job calls what its command calls, with the store that the resource `registry` names. What a command prints
stands in the run's log, what it answers with `--json` in the metadata of the op's output.
"""

import io
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field
from rich.console import Console

from resources.definitions import ModelRegistry
from resources.errors import SultanaError

REFERENCE = "MODEL, MODEL@ALIAS or MODEL/VERSION. "


class CompareConfig(dg.Config):
    """Which versions are compared."""

    ours: str = Field(default="sultana@champion", description=f"A: {REFERENCE}")
    theirs: str = Field(default="sultana@candidate", description=f"B, what A is compared with: {REFERENCE}")


class ReportConfig(dg.Config):
    """Which version is reported on."""

    model: str = Field(
        default="sultana",
        description=f"{REFERENCE}A name alone: its champion, else candidate, else the newest.",
    )


class PromoteConfig(dg.Config):
    """Which version is to be the champion, and by which rule."""

    model: str = Field(default="sultana", description=f"{REFERENCE}A name alone: its candidate.")
    loss_margin: float | None = Field(
        default=0.01,
        ge=0,
        description="Nats per token by which the mean loss has to be lower; null: not asked.",
    )
    accuracy_margin: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share by which the mean accuracy has to be higher; null: not asked.",
    )
    guards: list[str] = Field(
        default=[], description="Tasks that may not get worse. Empty: all that were scored."
    )
    loss_tolerance: float = Field(
        default=0.02, ge=0, description="Nats per token that the loss of a guard task may be higher."
    )
    accuracy_tolerance: float = Field(
        default=0.02, ge=0, le=1, description="Share that another score of a guard task may be lower."
    )
    force: bool = Field(default=False, description="Waive the rule; needs a reason.")
    reason: str = Field(default="", description="Why; goes on the record.")


class RollbackConfig(dg.Config):
    """Whose last promotion is taken back."""

    model: str = Field(default="sultana", description="Name of the registered model.")
    reason: str = Field(default="", description="Why; goes on the record.")


class GenerateConfig(dg.Config):
    """What is asked, of which version."""

    model: str = Field(default="sultana", description=REFERENCE)
    prompt: str = Field(description="The question.")
    seed: int = Field(default=0, ge=0, description="Seed of the sampling.")
    temperature: float = Field(default=0.0, ge=0, le=100, description="0: the likeliest token every time.")
    maximum_new_tokens: int = Field(default=256, ge=1, description="Longest reply, in tokens.")


class ExportConfig(dg.Config):
    """Which rows are written, and where."""

    out_folder: str = Field(
        description="Folder to write on the machine that runs; must not exist, or be empty."
    )
    format: str = Field(default="jsonl", description="jsonl, parquet or datasets.")
    strategy: str | None = Field(default=None, description="The curriculum of this strategy; with seed.")
    seed: int | None = Field(default=None, ge=0, description="Seed of that curriculum.")


class ExportModelConfig(dg.Config):
    """Which version is written, and where."""

    model: str = Field(default="sultana", description=REFERENCE)
    out_folder: str = Field(
        description="Folder to write on the machine that runs; must not exist, or be empty."
    )
    merge: bool = Field(default=False, description="Merge an adapter into its base model.")


class DoctorConfig(dg.Config):
    """What is examined beside the data folder."""

    port: int = Field(default=3000, ge=1, le=65535, description="Port of the Dagster UI.")


def _console() -> Console:
    return Console(file=io.StringIO(), width=140, highlight=False)


def _tell(context: dg.OpExecutionContext, console: Console, answer: dict[str, Any]) -> None:
    text = console.file.getvalue()  # type: ignore[attr-defined]
    context.log.info(text)
    context.add_output_metadata({"answer": dg.MetadataValue.json(answer)})


@dg.op
def compare_versions(context: dg.OpExecutionContext, config: CompareConfig, registry: ModelRegistry) -> None:
    """Scores of two registered versions with paired intervals, and the settings that differ."""
    from orchestration.comparing import compare_versions as compare
    from orchestration.comparing import show_comparison

    console = _console()
    found = compare(config.ours, config.theirs, registry.tracking_uri)
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


MODEL_JOBS = [
    _job(compare_versions, "compare_models", "compare"),
    _job(report_version, "report_model", "report"),
    _job(promote_version, "promote_model", "promote"),
    _job(roll_back_version, "roll_back_model", "rollback"),
    _job(ask_version, "ask_model", "generate"),
    _job(write_curated_set, "export_instructions", "export"),
    _job(write_model, "export_model", "export-model"),
    _job(examine_machine, "examine_this_machine", "doctor"),
]

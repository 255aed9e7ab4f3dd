"""What the jobs about registered models ask for in the Launchpad."""

import dagster as dg
from pydantic import Field

from assets.lineage.promotion import PromotionRule

REFERENCE = "MODEL, MODEL@ALIAS or MODEL/VERSION. "


class CompareConfig(dg.Config):
    """Which versions are compared."""

    ours: str = Field(default="sultana@champion", description=f"A: {REFERENCE}")
    theirs: str = Field(default="sultana@candidate", description=f"B, what A is compared with: {REFERENCE}")
    rows_file: str = Field(
        default="",
        description="File to write on the machine that runs, with every row that differs; ends in .parquet or "
        ".jsonl. Empty: none.",
    )


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
        default=PromotionRule.loss_margin,
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
        default=PromotionRule.loss_tolerance,
        ge=0,
        description="Nats per token that the loss of a guard task may be higher.",
    )
    accuracy_tolerance: float = Field(
        default=PromotionRule.accuracy_tolerance,
        ge=0,
        le=1,
        description="Share that another score of a guard task may be lower.",
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


class ExportLineageConfig(dg.Config):
    """Whose lineage is written, and where."""

    model: str = Field(default="sultana", description=REFERENCE)
    out_folder: str = Field(
        description="Folder to write on the machine that runs; must not exist, or be empty."
    )


class AuditConfig(dg.Config):
    """Which version is audited, and where its rows are written."""

    model: str = Field(default="sultana", description=REFERENCE)
    rows_file: str = Field(
        default="",
        description="File to write on the machine that runs, with every step and slot; ends in .parquet or .jsonl. "
        "Empty: none.",
    )
    page_file: str = Field(
        default="",
        description="HTML file to write on the machine that runs, which opens offline; ends in .html. Empty: none.",
    )
    verify: bool = Field(
        default=False,
        description="Recompute every hash from stored bytes; the run fails where one does not hold.",
    )
    every_row: bool = Field(
        default=False,
        description="The same, and each row's hash even where its file is the one that was recorded.",
    )
    replay: bool = Field(
        default=False,
        description="Train again from the ledger and compare weights; the run fails where they differ.",
    )


class ProveConfig(dg.Config):
    """Which row is proved in or out of which training set."""

    model: str = Field(default="sultana", description=REFERENCE)
    row: str = Field(description="Id of an instruction or an origin; or FILE:LINE, lines counted from 1.")
    out_folder: str = Field(
        description="Folder to write on the machine that runs, which must not exist: the proof, and the script that "
        "checks it."
    )


class TraceConfig(dg.Config):
    """Which row is followed."""

    row: str = Field(
        default="", description="Id of a row, an origin or a mix; or FILE:LINE, lines counted from 1."
    )
    text: str = Field(
        default="",
        description="Instead of row: text of a prompt, a response or a message, or a whole row as JSON.",
    )
    match: int = Field(
        default=0, ge=0, description="With text: follow the match of this number. 0: the best exact one."
    )


class RetractConfig(dg.Config):
    """What is retracted: rows, or one of source, licence and file."""

    rows: list[str] = Field(default=[], description="Ids of instructions or origins.")
    source: str = Field(default="", description="Every row of this source, also later ones.")
    licence: str = Field(default="", description="Every row under this licence, also later ones.")
    file: str = Field(
        default="", description="FILE or FILE:LINE: every row of it, or what stands on that line."
    )
    reason: str = Field(default="", description="Why; goes on the record. Needed unless it is a dry run.")
    erase: bool = Field(
        default=False,
        description="Remove text, vectors and states as well, from every version of every table; for good.",
    )
    keep_champion: str = Field(
        default="",
        description="Why models that were trained on them keep the alias champion. Empty: they lose it.",
    )
    dry_run: bool = Field(default=True, description="Only say what would happen.")


class LiftConfig(dg.Config):
    """Which retraction is lifted."""

    retraction: str = Field(description="Id of the retraction, or its beginning.")
    reason: str = Field(description="Why; goes on the record.")


class DoctorConfig(dg.Config):
    """What is examined beside the data folder."""

    port: int = Field(default=3000, ge=1, le=65535, description="Port of the Dagster UI.")
    repair: bool = Field(
        default=False, description="Mend what can be mended without touching anything acknowledged."
    )


class BackupConfig(dg.Config):
    """Where the backup is kept."""

    folder: str = Field(
        min_length=1,
        description="Folder on the machine of the UI; each backup gets a folder of its own in it.",
    )


class MaintainConfig(dg.Config):
    """Which versions of tables are given up."""

    older_than_days: float | None = Field(
        default=None,
        ge=0,
        description="Younger versions stay. Null: SULTANA_RETENTION_DAYS, else 30.",
    )
    dry_run: bool = Field(default=False, description="Tell what would be done, and do nothing.")
    compact: bool = Field(
        default=False, description="Also write tables of many small files anew, as new versions."
    )

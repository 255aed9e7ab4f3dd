"""Configuration of the stage `instructions`: sources, validation, duplicates and contamination."""

from enum import StrEnum

import dagster as dg
from pydantic import Field

from assets.instructions.raw import SourceSpec


class OnBadFile(StrEnum):
    """What to do about a file that cannot be read at all."""

    fail = "fail"
    quarantine = "quarantine"


class Private(StrEnum):
    """What to do about rows that hold keys, tokens, e-mail addresses or card numbers."""

    flag = "flag"
    mask = "mask"
    refuse = "refuse"


class Source(dg.Config):
    """Where rows come from."""

    name: str = Field(description="Short name of the source; letters, digits, '.', '_' and '-'.")
    path: str = Field(
        description="A file, folder or glob, hf://datasets/owner/name[@revision][/glob], or any fsspec address."
    )
    format: str = Field(default="", description="jsonl, json, csv or parquet. Empty: by suffix and content.")
    shape: str = Field(
        default="",
        description="alpaca, sharegpt, messages, prompt_completion or super_natural_instructions. "
        "Empty: detected row by row.",
    )
    licence: str = Field(default="", description="Licence of rows that name none themselves.")
    task: str = Field(default="", description="Task label of rows that name none themselves.")
    task_field: str = Field(
        default="", description="Field that holds the task label. Empty: the usual names."
    )
    revision: str = Field(default="", description="Commit of a hf:// dataset. Empty: the newest, recorded.")
    split: str = Field(default="", description="Split of a hf:// dataset, e.g. train. Empty: all.")
    subset: str = Field(default="", description="Configuration of a hf:// dataset that has several.")
    hub_mirror: str = Field(
        default="", description="Folder that holds a downloaded hf:// dataset, where the network is off."
    )
    allow_empty: bool = Field(default=False, description="Accept a file without rows.")
    score_fields: list[str] = Field(
        default=[],
        description="Fields that hold a number about the row, for instance quality, complexity or a judge's "
        "rating. Kept as scores under the field's name, for strategies that select by them.",
    )

    private: Private = Field(
        default=Private.flag,
        description="Rows that hold keys, tokens, e-mail addresses or card numbers. flag: they are counted. mask: the "
        "kind stands in their place before anything is stored. refuse: such rows go to quarantine.",
    )

    def spec(self) -> SourceSpec:
        """The source as the reader takes it."""
        return SourceSpec(
            name=self.name,
            uri=self.path,
            format=self.format or None,
            shape=self.shape or None,
            licence=self.licence or None,
            task_field=self.task_field or None,
            task=self.task or None,
            revision=self.revision or None,
            split=self.split or None,
            subset=self.subset or None,
            hub_mirror=self.hub_mirror or None,
            allow_empty=self.allow_empty,
            score_fields=tuple(self.score_fields),
            private=self.private.value,
        )


class StarterCorpus(dg.Config):
    """The corpus that Sultana makes itself, used where no source is named."""

    seed: int = Field(default=0, ge=0, description="Seed of the generator.")
    rows: int = Field(default=4800, ge=200, le=20_000, description="Instruction rows to make.")


class RawInstructionsConfig(dg.Config):
    """What to read."""

    sources: list[Source] = Field(
        default=[], description="Sources of instructions. Empty: the starter corpus."
    )
    starter: StarterCorpus = Field(
        default=StarterCorpus(), description="The starter corpus, where no source is named."
    )
    on_bad_file: OnBadFile = Field(
        default=OnBadFile.fail,
        description="fail: a file that cannot be read stops the run. quarantine: it is recorded and skipped.",
    )
    maximum_rows: int = Field(
        default=0, ge=0, description="Read a sample of this many rows, chosen by hash of content. 0: all."
    )


class InstructionsConfig(dg.Config):
    """What to keep."""

    near_duplicate_threshold: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Jaccard index of word 5-grams from which two rows are near-duplicates.",
    )
    contamination_ngram: int = Field(
        default=8, ge=3, le=32, description="Words in an n-gram of the contamination test."
    )
    contamination_threshold: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Share of a benchmark example's n-grams found in a row that condemns it.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the MinHash permutations.")


class RawInstructionsChecksConfig(dg.Config):
    """Bounds of the checks of `raw_instructions`."""

    minimum_readable_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Smallest share of raw rows that could be read. Below it nothing downstream runs.",
    )


class InstructionsChecksConfig(dg.Config):
    """Bounds of the checks of `instructions`, as shares of the raw rows; beyond one, the check warns."""

    maximum_quarantined_share: float = Field(
        default=0.25, ge=0, le=1, description="Largest share of raw rows in quarantine."
    )
    maximum_duplicate_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Largest share of raw rows left out as exact or near-duplicates.",
    )
    maximum_contaminated_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Largest share of raw rows left out because they share text with a benchmark.",
    )

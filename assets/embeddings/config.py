"""Configuration of the stage `embeddings`."""

from enum import StrEnum

import dagster as dg
from pydantic import Field


class Text(StrEnum):
    """What of a row is embedded."""

    instruction = "instruction"
    conversation = "conversation"


class EmbeddingsConfig(dg.Config):
    """What to embed, and how often to commit."""

    text: Text = Field(
        default=Text.instruction, description="Embed the user's turns, or the whole conversation."
    )
    commit_rows: int = Field(
        default=20_000,
        ge=100,
        le=1_000_000,
        description="Rows embedded between two commits, and more where the table has many; a killed run keeps them.",
    )


class EmbeddingsChecksConfig(dg.Config):
    """Bounds of the checks of `instruction_embeddings`."""

    maximum_length_error: float = Field(
        default=1e-3,
        gt=0,
        le=1,
        description="Largest difference of a vector's length from 1. Beyond it nothing downstream runs.",
    )
    maximum_drift: float = Field(
        default=0.25,
        ge=0,
        le=2,
        description="Largest distance, from 0 to 2, between the mean embedding and that of the materialization "
        "before; beyond it, the check warns.",
    )

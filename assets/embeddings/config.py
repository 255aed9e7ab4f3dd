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
        description="Rows embedded between two commits; a killed run keeps them.",
    )

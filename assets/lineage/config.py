"""Configuration of the stage `lineage`."""

import dagster as dg
from pydantic import Field


class LineageConfig(dg.Config):
    """A manifest has no settings: it records what was done."""


class LeaderboardChecksConfig(dg.Config):
    """Bounds of the check that the champion has not regressed; beyond one, it warns."""

    loss_tolerance: float = Field(
        default=0.02,
        ge=0,
        le=100,
        description="Nats a token by which the champion's mean loss may be above that of what it replaced.",
    )
    accuracy_tolerance: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share by which the champion's mean accuracy may be below that of what it replaced.",
    )

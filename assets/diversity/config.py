"""Configuration of the stage `diversity`: k-means and representatives."""

from enum import StrEnum

import dagster as dg
from pydantic import Field


class Quota(StrEnum):
    """How representatives are shared out among clusters."""

    equal = "equal"
    proportional = "proportional"
    sqrt = "sqrt"


class DiversityConfig(dg.Config):
    """Clusters over original and interpolated rows (MDIT section 3; RAISE section 3.4)."""

    clusters: int = Field(default=32, ge=1, le=65_536, description="Clusters of k-means.")
    representatives: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of all rows kept as representatives, the densest of each cluster.",
    )
    quota: Quota = Field(default=Quota.sqrt, description="Representatives a cluster gives, by its size.")
    maximum_share_interpolated: float = Field(
        default=0.5, ge=0, le=1, description="Largest share of interpolated rows among the representatives."
    )
    seed: int = Field(default=0, ge=0, description="Seed of k-means.")

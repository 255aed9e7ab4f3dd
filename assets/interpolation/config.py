"""Configuration of the stage `interpolation`: tasks, pairs and λ."""

from enum import StrEnum

import dagster as dg
from pydantic import Field


class TaskBy(StrEnum):
    """What a task is."""

    column = "column"
    clusters = "clusters"


class Pairing(StrEnum):
    """Which tasks the two parents of a recipe come from."""

    cross_task = "cross_task"
    any = "any"
    same_task = "same_task"


class Sampling(StrEnum):
    """How tasks are drawn."""

    proportional = "proportional"
    uniform = "uniform"


class InterpolationConfig(dg.Config):
    """MDIT recipes (arXiv 2504.07288, section 3)."""

    count: int = Field(default=1000, ge=0, le=100_000_000, description="Recipes to draw.")
    alpha: float = Field(default=0.4, gt=0, le=100, description="λ is drawn from Beta(alpha, alpha).")
    pairing: Pairing = Field(default=Pairing.cross_task, description="Tasks that the parents come from.")
    sampling: Sampling = Field(
        default=Sampling.proportional, description="How tasks are drawn: by size, or evenly."
    )
    task_by: TaskBy = Field(
        default=TaskBy.column,
        description="Task labels, or clusters of embeddings. Rows without a label use clusters.",
    )
    task_clusters: int = Field(default=16, ge=2, le=4096, description="Clusters, where tasks are clusters.")
    seed: int = Field(default=0, ge=0, description="Seed of pairs and λ.")

"""Configuration of the stage `interpolation`: tasks, pairs and λ."""

from enum import StrEnum

import dagster as dg
from pydantic import Field


class TaskBy(StrEnum):
    """What a task is."""

    task = "task"
    source = "source"
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


class LambdaPer(StrEnum):
    """What a λ is drawn for."""

    pair = "pair"
    task_pair = "task_pair"


class Alignment(StrEnum):
    """How the sequences of two parents meet; see alignment.py."""

    response_border = "response_border"
    response_border_scaled = "response_border_scaled"
    shorter = "shorter"
    start = "start"
    start_scaled = "start_scaled"


class InterpolationConfig(dg.Config):
    """MDIT recipes (arXiv 2504.07288, section 3)."""

    count: int = Field(default=1000, ge=0, le=100_000_000, description="Recipes to draw.")
    alpha: float = Field(
        default=0.1,
        gt=0,
        le=100,
        description="λ is drawn from Beta(alpha, alpha). Small: mostly close to one parent; 1: evenly.",
    )
    lambda_per: LambdaPer = Field(
        default=LambdaPer.pair, description="λ is drawn for every pair of rows, or once for a pair of tasks."
    )
    pairing: Pairing = Field(default=Pairing.cross_task, description="Tasks that the parents come from.")
    sampling: Sampling = Field(
        default=Sampling.proportional, description="How tasks are drawn: by size, or evenly."
    )
    task_by: TaskBy = Field(
        default=TaskBy.task,
        description="task: the row's label, from the column that its source names as task_field (a category, "
        "for instance); rows without one get a cluster. source: the source it came from first. clusters: "
        "clusters of instruction embeddings.",
    )
    task_clusters: int = Field(default=16, ge=2, le=4096, description="Clusters, where tasks are clusters.")
    alignment: Alignment = Field(
        default=Alignment.response_border,
        description="How parents of different lengths meet: at the border between prompt and response, the "
        "longer sides cut (shorter), or both from the start. Where only one parent has a token, its embedding "
        "is kept whole, or (scaled) multiplied by its weight.",
    )
    layer: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Experiment: mix the states that enter this layer instead of the embeddings (0).",
    )
    seed: int = Field(default=0, ge=0, description="Seed of pairs and λ.")

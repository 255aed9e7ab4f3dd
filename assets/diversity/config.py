"""Configuration of the stage `diversity`: vectors, k-means and representatives."""

from enum import StrEnum

import dagster as dg
from pydantic import Field


class RowVectors(StrEnum):
    """What a row's vector is."""

    sentence_embeddings = "sentence_embeddings"
    embedding_layer = "embedding_layer"


class RepresentativeBy(StrEnum):
    """Which rows of a cluster come first."""

    density = "density"
    centroid = "centroid"
    random = "random"
    farthest = "farthest"


class Quota(StrEnum):
    """How representatives are shared out among clusters."""

    equal = "equal"
    proportional = "proportional"
    sqrt = "sqrt"


class DiversityConfig(dg.Config):
    """Clusters over original and interpolated rows (MDIT section 3; RAISE section 3.4)."""

    vectors: RowVectors = Field(
        default=RowVectors.sentence_embeddings,
        description="Sentence embeddings, or mean token embeddings of the language model's embedding layer.",
    )
    clusters: int = Field(
        default=32,
        ge=0,
        le=65_536,
        description="Clusters of k-means. 0: the number with the best silhouette.",
    )
    representatives: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of all rows kept as representatives, the first of each cluster.",
    )
    representative_by: RepresentativeBy = Field(
        default=RepresentativeBy.random,
        description="Which rows of a cluster come first: random ones, the densest (as in MDIT), the closest "
        "to its centroid, or as a control the farthest. Dense rows are less diverse.",
    )
    quota: Quota = Field(default=Quota.sqrt, description="Representatives a cluster gives, by its size.")
    minimum_share_of_originals: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Smallest share of originals among the representatives of a cluster.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of k-means and of every draw.")


class DiversityChecksConfig(dg.Config):
    """Bounds of the checks of `diversity_clusters`, as shares from 0 to 1."""

    maximum_cluster_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Largest share of all rows in one cluster. Beyond it nothing downstream runs.",
    )
    maximum_empty_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Largest share of the clusters asked for without a row. Beyond it nothing downstream runs.",
    )
    maximum_share_of_mixes: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="Largest share of interpolated rows among representatives; beyond it, the check warns.",
    )

"""Clusters of original and interpolated rows, and the representatives of each (MDIT, section 3).

MDIT runs k-means over the merged data and keeps dense, representative samples; how density is measured,
how many a cluster gives, how many clusters there are and on which vector k-means runs could not be read.
The choices, each a setting:

- vector: the row's sentence embedding, which separates tasks well and is made once, whatever model is
  trained; or the paper's "e", the mean of the token embeddings in the model's own embedding layer
  (assets/embeddings/embedding_layer.py). A mix's is the mix of its parents', computed when it is needed,
  scaled to unit length. Unscaled, a mix is shorter than its parents and lies closer to the centre of the
  cloud, so the rows closest to a centroid would be mixes with λ near 1/2; the lost length is reported;
- clusters: a number, or the one with the best silhouette (number_of_clusters.py);
- representatives: the paper's dense rows, by mean cosine to the nearest neighbours in the cluster, so that
  a dense spot away from the centroid counts, or the closest to the centroid; or rows drawn at random
  within the cluster; or, as a control, the farthest. Dense is not diverse: on 20,000 real instructions and as
  many mixes, a quarter chosen, the Vendi score is 126 by density, 104 by centroid, 149 at random and 191
  by distance, of 151 for all; of 4,000 originals, 300 chosen, 45 by density and 92 at random, and 60
  against 136 of 238 tasks have a representative. So drawing at random is the default;
- quota: an equal number, one by size, or one by the square root of size. At least half of what a cluster
  gives are originals: a mix has relatives in the cloud by construction, its parents and their other
  mixes, and so is dense.

Rows are sorted by id, and every draw goes by a hash of id and seed: the order of the rows, the number of
threads and the size of blocks change nothing. Memory is that of the originals' vectors, of the rows that
k-means is fitted on and of a block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from assets.diversity.merged import FIT, MergedRows, MixedVectors
from assets.diversity.representatives import QUOTAS, choose, density, members, ranking
from assets.interpolation.centroids import Places, Vectors, fit_centroids, fit_rows, nearest
from assets.records import DIVERSITY_CLUSTERS
from resources.compute.boundary import Compute, in_order
from resources.compute.this_machine import THIS_MACHINE

REPRESENTATIVE_BY = ("density", "centroid", "random", "farthest")


@dataclass(frozen=True, eq=False)
class _Density:
    """Builds what finds the density of the rows of one cluster."""

    vectors: MixedVectors

    def __call__(self) -> Callable[[Places], Vectors]:
        return partial(density, self.vectors)


def cluster(
    rows: MergedRows,
    *,
    clusters: int,
    representatives: float = 0.5,
    representative_by: str = "random",
    quota: str = "sqrt",
    minimum_share_of_originals: float = 0.5,
    seed: int = 0,
    compute: Compute = THIS_MACHINE,
) -> pa.Table:
    """Cluster the rows and choose representatives: a table of DIVERSITY_CLUSTERS sorted by row id.

    `representatives` is the share of all rows to choose, `minimum_share_of_originals` that of originals
    among the chosen, kept in every cluster; where there are too few originals for it, fewer rows are
    chosen. See `representatives.ranking` and `representatives.choose` for the other settings.
    """
    if clusters < 1 or quota not in QUOTAS or representative_by not in REPRESENTATIVE_BY:
        raise ValueError("clusters is at least 1, quota and representative_by are among the known ones")
    if not len(rows):
        return DIVERSITY_CLUSTERS.schema.empty_table()
    sample = rows.sample(fit_rows(len(rows), clusters), seed, FIT)
    centroids = fit_centroids(rows.vectors, clusters, seed, sample, compute)
    labels, distances = nearest(rows.vectors, centroids, compute)
    densities = np.zeros(len(rows), dtype=np.float32)
    found = [places for places in members(labels) if len(places)]
    for places, dense in zip(found, in_order(compute, _Density(rows.vectors), found), strict=True):
        densities[places] = dense
    ranks = ranking(rows, labels, distances, densities, representative_by, seed)
    chosen = choose(
        labels,
        ranks,
        rows.mixed,
        representatives=representatives,
        quota=quota,
        minimum_share_of_originals=minimum_share_of_originals,
    )
    kinds = pa.array(["original", "interpolated"]).take(pa.array(rows.mixed.astype(np.int8)))
    return pa.table(
        [
            rows.row_ids,
            kinds,
            pa.array(labels, pa.int32()),
            pa.array(distances, pa.float32()),
            pa.array(densities, pa.float32()),
            pa.array(ranks, pa.int32()),
            pa.array(chosen, pa.bool_()),
        ],
        schema=DIVERSITY_CLUSTERS.schema,
    )

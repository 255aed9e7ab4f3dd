"""The door of the stage `diversity`: clusters and their dense representatives."""

from typing import TYPE_CHECKING

import dagster as dg
import numpy as np

from assets.diversity.config import DiversityConfig
from assets.materialization import OWNER, begin
from assets.presentation import COLOURS, column_schema, plot, preview
from assets.records import DIVERSITY_CLUSTERS, rows_digest
from resources.definitions import Storage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CODE_VERSION = "1"
PLOTTED_ROWS = 4000


@dg.asset(
    deps=["instructions", "instruction_embeddings", "interpolated_instructions"],
    group_name="diversity",
    owners=[OWNER],
    kinds={"lancedb", "scikitlearn"},
    code_version=CODE_VERSION,
    pool="diversity_clusters",
)
def diversity_clusters(
    context: dg.AssetExecutionContext, config: DiversityConfig, storage: Storage
) -> dg.MaterializeResult:
    """k-means over original and interpolated rows, and the dense representatives of each cluster.

    The vector of an interpolated row is the normalised mix of its parents' vectors.
    """
    stage = begin(
        context,
        storage,
        config,
        asset="diversity_clusters",
        code_version=CODE_VERSION,
        reads=["instructions", "instruction_embeddings", "interpolated_instructions"],
    )
    if again := stage.previous(["diversity_clusters"]):
        return again[0]

    from assets.diversity.clusters import cluster, interpolated_vectors
    from assets.diversity.metrics import diversity_metrics, projection
    from assets.embeddings.vectors import vectors_of

    ids = stage.tables.read(stage.upstream["instructions"].table(), columns=["instruction_id"])
    originals = ids["instruction_id"].to_pylist()
    vectors = vectors_of(stage.tables, stage.upstream["instruction_embeddings"].table(), originals)
    recipes = stage.tables.read(stage.upstream["interpolated_instructions"].table())
    mixed = interpolated_vectors(
        recipes["parent_a"].to_pylist(),
        recipes["parent_b"].to_pylist(),
        recipes["lambda"].to_numpy(),
        originals,
        vectors,
    )
    row_ids = originals + recipes["recipe_id"].to_pylist()
    kinds = ["original"] * len(originals) + ["interpolated"] * recipes.num_rows
    points = np.concatenate([vectors, mixed])
    with stage.progress("clustering", len(row_ids)) as progress:
        clusters = cluster(
            row_ids,
            kinds,
            points,
            clusters=config.clusters,
            representatives=config.representatives,
            quota=config.quota.value,
            maximum_share_interpolated=config.maximum_share_interpolated,
            seed=config.seed,
        )
        progress.to(len(row_ids))
    ref = stage.tables.write(
        DIVERSITY_CLUSTERS,
        clusters,
        mode="overwrite",
        digest=rows_digest(clusters.select(["row_id", "cluster", "rank", "representative"]).to_pylist()),
        provenance=stage.provenance(),
    )
    labels = {row["row_id"]: row["cluster"] for row in clusters.select(["row_id", "cluster"]).to_pylist()}
    places = np.random.default_rng(config.seed).permutation(len(row_ids))[:PLOTTED_ROWS]
    flat = projection(points[places])
    colours = np.array([labels[row_ids[place]] for place in places])
    mixes = np.array([kinds[place] == "interpolated" for place in places])

    def draw(axes: "Axes") -> None:
        for kind, marked, marker in (("original", ~mixes, "o"), ("interpolated", mixes, "x")):
            x, y = flat[marked].T
            axes.scatter(
                x, y, c=colours[marked], cmap="tab20", s=8, marker=marker, linewidths=0.6, label=kind
            )

    sizes = np.bincount(clusters["cluster"].to_numpy())
    chosen = np.bincount(
        clusters["cluster"].to_numpy()[clusters["representative"].to_numpy(zero_copy_only=False)],
        minlength=len(sizes),
    )

    def draw_sizes(axes: "Axes") -> None:
        order = np.argsort(-sizes)
        axes.bar(range(len(sizes)), sizes[order], color=COLOURS[5], label="rows")
        axes.bar(range(len(sizes)), chosen[order], color=COLOURS[0], label="representatives")

    return stage.result(
        [ref],
        {
            "dagster/row_count": ref.rows,
            "dagster/column_schema": column_schema(DIVERSITY_CLUSTERS.schema),
            **diversity_metrics(clusters, points, row_ids),
            "preview": preview(clusters),
            "map": plot(
                draw,
                title=f"{len(places):,} rows on two principal components, coloured by cluster",
                size=(7.2, 4.6),
            ),
            "sizes": plot(draw_sizes, title="Cluster sizes", x="cluster, largest first", y="rows"),
        },
    )

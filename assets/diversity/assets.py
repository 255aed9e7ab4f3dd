"""The door of the stage `diversity`: clusters and their representatives."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.diversity.config import DiversityConfig, RowVectors
from assets.identity import RowsDigest
from assets.materialization import OWNER, Stage, begin
from assets.presentation import COLOURS, column_schema, plot, preview, table
from assets.records import DIVERSITY_CLUSTERS
from assets.retries import tried_again
from resources.definitions import ComputeSetting, LanguageModelSetting, Storage
from resources.table_refs import TableRef

if TYPE_CHECKING:
    from assets.diversity.merged import MergedRows
    from assets.diversity.number_of_clusters import Candidate
    from resources.language_model import LanguageModel

CODE_VERSION = "2"
DEFAULT_CLUSTERS = 32
"""Where the number is to be chosen and there are too few rows to compare two."""

MEASURED_MIXES = 10_000
SHOWN_ALONE = ("vendi_score", "mean_cosine_distance", "cluster_entropy", "task_coverage", "share_of_mixes")
"""Measures that are also numbers of their own, before and after."""


@dg.asset(
    deps=["instructions", "instruction_embeddings", "interpolated_instructions"],
    group_name="5_diversity",
    owners=[OWNER],
    kinds={"lancedb", "numpy"},
    code_version=CODE_VERSION,
    pool="diversity_clusters",
)
@tried_again
def diversity_clusters(
    context: dg.AssetExecutionContext,
    config: DiversityConfig,
    storage: Storage,
    language_model: LanguageModelSetting,
    compute: ComputeSetting,
) -> dg.MaterializeResult:
    """k-means over original and interpolated rows, and the representatives of each cluster.

    The vector of an interpolated row is the normalised mix of its parents' vectors.
    """
    model = language_model.open(storage) if config.vectors is RowVectors.embedding_layer else None
    settings = {"language_model": model.fingerprint(), "dtype": model.resolved_dtype()} if model else {}
    stage = begin(
        context,
        storage,
        config,
        asset="diversity_clusters",
        code_version=CODE_VERSION,
        reads=["instructions", "instruction_embeddings", "interpolated_instructions"],
        settings=settings,
    )
    if again := stage.previous(["diversity_clusters"]):
        return again[0]

    from assets.diversity.clusters import cluster
    from assets.diversity.number_of_clusters import best, candidates

    rows, tasks = _rows(stage, model)
    with stage.progress("clustering", len(rows)) as progress:
        tried = candidates(rows, config.seed) if config.clusters == 0 else []
        number = config.clusters or best(tried, DEFAULT_CLUSTERS)
        clusters = cluster(
            rows,
            clusters=number,
            representatives=config.representatives,
            representative_by=config.representative_by.value,
            quota=config.quota.value,
            minimum_share_of_originals=config.minimum_share_of_originals,
            seed=config.seed,
            compute=compute.open(),
        )
        progress.to(len(rows))
    content = _digest(clusters)
    ref = stage.write(DIVERSITY_CLUSTERS, clusters, mode="overwrite", content=content)
    with stage.progress("measuring", len(rows)) as progress:
        shown = _measures(config, rows, tasks, clusters)
        progress.to(len(rows))
    return stage.result(
        [ref],
        {
            "dagster/row_count": ref.rows,
            "dagster/column_schema": column_schema(DIVERSITY_CLUSTERS.schema),
            **shown,
            **_tried(tried),
            "preview": preview(clusters),
        },
        content=content,
        facts={"clusters": number, "clusters_chosen": config.clusters == 0},
    )


def _rows(stage: Stage, model: "LanguageModel | None") -> tuple["MergedRows", npt.NDArray[np.int32]]:
    """Originals and recipes with their vectors, and the task of each original as a code from 0."""
    from assets.diversity.merged import merge
    from assets.embeddings.vectors import vectors_of
    from assets.interpolation.tasks import assign_tasks, label_column, labels_of

    instructions = stage.upstream["instructions"].table()
    recipes = stage.upstream["interpolated_instructions"]
    pairing = recipes.record["configuration"]
    found = stage.tables.read(instructions, columns=["instruction_id", label_column(pairing["task_by"])])
    ids = found["instruction_id"].combine_chunks()
    names = ids.to_pylist()
    vectors = vectors_of(stage.tables, stage.upstream["instruction_embeddings"].table(), names)
    # The tasks that recipes were drawn by, from the same rows and settings.
    tasks = assign_tasks(
        names,
        labels_of(found, pairing["task_by"]),
        vectors,
        task_by=pairing["task_by"],
        clusters=pairing["task_clusters"],
        seed=pairing["seed"],
    )
    if model is not None:
        vectors = _embedding_layer(stage, instructions, names, model)
    columns = stage.tables.read(recipes.table(), columns=["recipe_id", "parent_a", "parent_b", "lambda"])
    rows = merge(
        ids,
        vectors,
        columns["recipe_id"].combine_chunks(),
        columns["parent_a"].combine_chunks(),
        columns["parent_b"].combine_chunks(),
        columns["lambda"].to_numpy(),
    )
    return rows, np.unique(np.array(tasks, dtype=object), return_inverse=True)[1].astype(np.int32)


def _embedding_layer(
    stage: Stage, instructions: TableRef, ids: list[str], model: "LanguageModel"
) -> npt.NDArray[np.float32]:
    """Means at the model's embedding layer, in the order of `ids`; read, tokenised and averaged in blocks."""
    from assets.embeddings.embedding_layer import embedding_layer_means

    network, tokenizer = model.load()
    order: list[str] = []

    def turns() -> Iterator[list[dict[str, str]]]:
        for batch in stage.tables.batches(instructions, columns=["instruction_id", "messages"]):
            order.extend(batch["instruction_id"].to_pylist())
            yield from batch["messages"].to_pylist()

    found = embedding_layer_means(turns(), len(ids), tokenizer, network.get_input_embeddings())
    place = {name: number for number, name in enumerate(order)}
    return found[[place[name] for name in ids]]


def _measures(
    config: DiversityConfig, rows: "MergedRows", tasks: npt.NDArray[np.int32], clusters: pa.Table
) -> dict[str, Any]:
    """Diversity before and after as numbers, a table and plots, and what the bound on mixes changes."""
    from assets.diversity.map import draw_map, draw_sizes
    from assets.diversity.merged import MEASURED
    from assets.diversity.metrics import as_table, balance, diversity, groups
    from assets.diversity.number_of_clusters import SILHOUETTE_ROWS, silhouette
    from assets.diversity.representatives import choose

    labels, distances = clusters["cluster"].to_numpy(), clusters["distance"].to_numpy()
    chosen = clusters["representative"].to_numpy()
    if not len(rows):
        return {"clusters": 0, "representatives": 0}
    unbounded = choose(
        labels,
        clusters["rank"].to_numpy(),
        rows.mixed,
        representatives=config.representatives,
        quota=config.quota.value,
        minimum_share_of_originals=0.0,
    )
    measured = {
        name: diversity(rows, places, labels, tasks, config.seed)
        for name, places in groups(rows, chosen, config.seed).items()
    }
    before, after = measured["all rows"], measured["representatives"]
    everything, mixes = np.arange(len(rows)), np.flatnonzero(rows.mixed)
    few = rows.sample(SILHOUETTE_ROWS, config.seed, MEASURED)
    sizes = np.unique(labels, return_counts=True)[1]
    shares = [
        {
            "rows": name,
            "share of mixes": float(rows.mixed[places].mean()),
            "mean min(λ, 1 - λ) of mixes": balance(rows, places),
            "mean distance of originals": _mean(distances[places[~rows.mixed[places]]]),
            "mean distance of mixes": _mean(distances[places[rows.mixed[places]]]),
        }
        for name, places in (
            ("all rows", everything),
            ("representatives", np.flatnonzero(chosen)),
            ("representatives, were originals not bounded below", np.flatnonzero(unbounded)),
        )
    ]
    return {
        "clusters": len(sizes),
        "smallest_cluster": int(sizes.min()),
        "largest_cluster": int(sizes.max()),
        "inertia": float((distances.astype(np.float64) ** 2).sum()),
        "silhouette": silhouette(rows.vectors[few], labels[few]),
        "representatives": after.rows,
        **{name: getattr(before, name) for name in SHOWN_ALONE},
        **{f"{name}_of_representatives": getattr(after, name) for name in SHOWN_ALONE},
        "share_of_mixes_without_bound": float(rows.mixed[unbounded].mean()),
        "mean_length_of_mixes_before_scaling": _mean(rows.vectors.relative_lengths(mixes[:MEASURED_MIXES])),
        "before_and_after": table(as_table(measured)),
        "mixes_among_the_chosen": table(shares),
        "map": plot(
            lambda axes: draw_map(axes, rows, labels, chosen, config.seed),
            title="Rows on two principal components, coloured by cluster",
            size=(8.6, 5.2),
        ),
        "sizes": plot(
            lambda axes: draw_sizes(axes, labels, rows.mixed, chosen, (COLOURS[5], COLOURS[0], COLOURS[1])),
            title="Cluster sizes",
            x="cluster, largest first",
            y="rows",
        ),
    }


def _tried(tried: list["Candidate"]) -> dict[str, Any]:
    if not tried:
        return {}
    return {"clusters_tried": table([asdict(one) for one in tried])}


def _mean(values: npt.NDArray[np.float32]) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else 0.0


def _digest(clusters: pa.Table) -> str:
    found = RowsDigest()
    for batch in clusters.select(["row_id", "cluster", "rank", "representative"]).to_batches(65_536):
        for row in batch.to_pylist():
            found.add(row)
    return found.hexdigest()

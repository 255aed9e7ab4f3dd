"""The door of the stage `interpolation`: MDIT recipes."""

from collections import Counter

import dagster as dg
import numpy as np

from assets.interpolation.config import InterpolationConfig
from assets.materialization import OWNER, begin
from assets.presentation import column_schema, plot, preview, table
from assets.records import INTERPOLATED_INSTRUCTIONS
from assets.retries import tried_again
from resources.definitions import Storage

CODE_VERSION = "1"


@dg.asset(
    deps=["instructions", "instruction_embeddings"],
    group_name="4_interpolation",
    owners=[OWNER],
    kinds={"lancedb"},
    code_version=CODE_VERSION,
    pool="interpolated_instructions",
)
@tried_again
def interpolated_instructions(
    context: dg.AssetExecutionContext, config: InterpolationConfig, storage: Storage
) -> dg.MaterializeResult:
    """MDIT interpolations (arXiv 2504.07288, section 3) as recipes: two parents and λ from Beta(α, α).

    A recipe is mixed at training time, exactly, from the tokens of its parents; no tensor is stored.
    """
    stage = begin(
        context,
        storage,
        config,
        asset="interpolated_instructions",
        code_version=CODE_VERSION,
        reads=["instructions", "instruction_embeddings"],
    )
    if again := stage.previous(["interpolated_instructions"]):
        return again[0]

    from assets.embeddings.vectors import vectors_of
    from assets.interpolation.recipes import draw_recipes
    from assets.interpolation.tasks import assign_tasks, label_column, labels_of

    instructions = stage.upstream["instructions"].table()
    task_by = config.task_by.value
    rows = stage.tables.read(instructions, columns=["instruction_id", label_column(task_by)])
    ids = rows["instruction_id"].to_pylist()
    labels = labels_of(rows, task_by)
    vectors = None
    if task_by == "clusters" or any(label is None for label in labels):
        vectors = vectors_of(stage.tables, stage.upstream["instruction_embeddings"].table(), ids)
    tasks = assign_tasks(
        ids, labels, vectors, task_by=task_by, clusters=config.task_clusters, seed=config.seed
    )
    with stage.progress("drawing recipes", config.count, "recipes") as progress:
        recipes = draw_recipes(
            ids,
            tasks,
            count=config.count,
            alpha=config.alpha,
            pairing=config.pairing.value,
            sampling=config.sampling.value,
            lambda_per=config.lambda_per.value,
            layer=config.layer,
            alignment=config.alignment.value,
            seed=config.seed,
        )
        progress.to(recipes.num_rows)
    ref = stage.write(INTERPOLATED_INSTRUCTIONS, recipes, mode="overwrite")
    weights = recipes["lambda"].to_numpy()
    pairs = Counter(zip(recipes["task_a"].to_pylist(), recipes["task_b"].to_pylist(), strict=True))
    return stage.result(
        [ref],
        {
            "dagster/row_count": ref.rows,
            "dagster/column_schema": column_schema(INTERPOLATED_INSTRUCTIONS.schema),
            "tasks": len(set(tasks)),
            "mean_lambda": float(np.mean(weights)) if len(weights) else 0.0,
            "preview": preview(recipes, ["parent_a", "parent_b", "lambda", "task_a", "task_b"]),
            "commonest_pairs": table(
                [{"task_a": a, "task_b": b, "recipes": count} for (a, b), count in pairs.most_common(8)]
            ),
            "lambda": plot(
                lambda axes: axes.hist(weights, bins=40, range=(0, 1)),
                title=f"λ of {len(weights):,} recipes, drawn from Beta({config.alpha:g}, {config.alpha:g})",
                x="λ",
                y="recipes",
            ),
        },
    )

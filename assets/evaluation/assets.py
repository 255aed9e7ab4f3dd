"""The door of the stage `evaluation`: scores of the base model and of checkpoints, and the leaderboard."""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from assets.evaluation.config import EvaluationConfig, LeaderboardConfig
from assets.evaluation.leaderboard import BASE, as_rows, standings, verdict
from assets.materialization import OWNER, Stage, begin
from assets.materialized import materializations
from assets.partitions import EXPERIMENTS, strategy_and_seed
from assets.presentation import COLOURS, PREVIEW_ROWS, bars, plot, table
from assets.records import EVALUATIONS, ID_LENGTH, digest, rows_digest
from resources.definitions import LanguageModelSetting, ModelRegistry, Storage
from resources.errors import SultanaError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CODE_VERSION = "1"


def _score(
    stage: Stage,
    config: EvaluationConfig,
    pair: tuple[Any, Any],
    *,
    model: str,
    checkpoint_id: str,
    strategy: str,
    seed: int,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of EVALUATIONS for a loaded model, and what is shown of it."""
    from assets.evaluation.harness import exact_match
    from assets.finetuning.examples import encode_examples
    from assets.finetuning.scoring import response_loss

    choose = functools.partial(
        encode_examples,
        stage.tables,
        stage.upstream["benchmark_splits"].table(),
        config.split,
        tokenizer=pair[1],
        maximum_length=config.maximum_length,
    )
    measured = choose(most=config.loss_examples)
    with stage.progress("loss", len(measured.examples), "examples") as progress:
        loss = response_loss(
            pair[0], measured.examples, batch_tokens=config.batch_tokens, on_examples=progress.advance
        )
    asked = choose(most=config.accuracy_examples, answered=True)
    with stage.progress("answers", len(asked.examples), "examples") as progress:
        accuracy = exact_match(
            *pair,
            asked.examples,
            maximum_new_tokens=config.maximum_new_tokens,
            batch_tokens=config.batch_tokens,
            on_examples=progress.advance,
        )
    rows = [
        {
            "evaluation_id": digest([checkpoint_id, stage.inputs_digest, task, metric])[:ID_LENGTH],
            "checkpoint_id": checkpoint_id,
            "model": model,
            "strategy": strategy,
            "seed": seed,
            "split": config.split,
            "task": task,
            "metric": metric,
            "value": float(value),
            "examples": report.examples[task],
        }
        for metric, report in (("loss", loss), ("accuracy", accuracy))
        for task, value in sorted(report.per_task.items())
    ]
    texts = {one.example_id: one for one in accuracy.predictions}
    shown = {
        "loss": loss.mean,
        "accuracy": accuracy.mean,
        "refused_examples": len(measured.refused),
        "answers": table(
            [
                {
                    "task": one.task,
                    "answer": one.answer,
                    "extracted": texts[one.example_id].extracted,
                    "right": texts[one.example_id].correct,
                    "generated": texts[one.example_id].text,
                }
                for one in asked.examples[:PREVIEW_ROWS]
            ]
        ),
    }
    return rows, shown


def _recorded(
    stage: Stage, rows: list[dict[str, Any]], shown: dict[str, Any], facts: dict[str, Any]
) -> dg.MaterializeResult:
    ref = stage.tables.write(
        EVALUATIONS,
        pa.Table.from_pylist(rows, schema=EVALUATIONS.schema),
        mode="upsert",
        digest=rows_digest(rows),
        provenance=stage.provenance(),
    )
    by_metric = {
        metric: {row["task"]: row["value"] for row in rows if row["metric"] == metric}
        for metric in ("loss", "accuracy")
    }
    return stage.result(
        [replace(ref, rows=len(rows))],  # the table holds every evaluation; this one made these rows
        {
            **shown,
            "loss_per_task": bars(by_metric["loss"], title="Held-out loss per task", x="nats per token"),
            "accuracy_per_task": bars(by_metric["accuracy"], title="Exact match per task", x="share right"),
            "scores": table(
                [
                    {
                        "task": task,
                        "loss": by_metric["loss"][task],
                        "accuracy": by_metric["accuracy"].get(task),
                    }
                    for task in sorted(by_metric["loss"])
                ]
            ),
        },
        content=rows_digest(rows),
        facts={"rows": rows, "loss": shown["loss"], "accuracy": shown["accuracy"], **facts},
    )


@dg.asset(
    deps=["benchmark_splits"],
    group_name="evaluation",
    owners=[OWNER],
    kinds={"pytorch"},
    code_version=CODE_VERSION,
    pool="device",
)
def baseline_evaluation(
    context: dg.AssetExecutionContext,
    config: EvaluationConfig,
    storage: Storage,
    language_model: LanguageModelSetting,
) -> dg.MaterializeResult:
    """Held-out loss and exact-match accuracy of the base model, per task."""
    model = language_model.open(storage)
    fingerprint = model.fingerprint()
    stage = begin(
        context,
        storage,
        config,
        asset="baseline_evaluation",
        code_version=CODE_VERSION,
        reads=["benchmark_splits"],
        settings={"language_model": fingerprint},
    )
    if again := stage.previous(["baseline_evaluation"]):
        return again[0]
    rows, shown = _score(
        stage, config, model.load(), model=model.name, checkpoint_id=fingerprint, strategy=BASE, seed=0
    )
    return _recorded(stage, rows, shown, {"model": model.name})


@dg.asset(
    deps=["checkpoint", "benchmark_splits"],
    partitions_def=EXPERIMENTS,
    group_name="evaluation",
    owners=[OWNER],
    kinds={"pytorch", "mlflow"},
    code_version=CODE_VERSION,
    pool="device",
)
def evaluation(
    context: dg.AssetExecutionContext,
    config: EvaluationConfig,
    storage: Storage,
    language_model: LanguageModelSetting,
    registry: ModelRegistry,
) -> dg.MaterializeResult:
    """Held-out loss and exact-match accuracy of the registered checkpoint, per task, its files verified."""
    strategy, seed = strategy_and_seed(context)
    model = language_model.open(storage)
    stage = begin(
        context,
        storage,
        config,
        asset="evaluation",
        code_version=CODE_VERSION,
        reads=["benchmark_splits"],
        reads_partition=["checkpoint"],
        settings={"language_model": model.fingerprint()},
    )
    if again := stage.previous(["evaluation"]):
        return again[0]
    made = stage.upstream["checkpoint"].record["facts"]
    if made["language_model"] != model.fingerprint():
        raise SultanaError(
            f"{made['model']} version {made['version']} was trained from another base model",
            "Evaluate with the language model that it was trained with, or train it again",
        )
    from assets.finetuning.weights import load_weights

    tracking = registry.open(storage)
    with tempfile.TemporaryDirectory(prefix="evaluation-", dir=storage.path("tmp")) as temporary:
        folder = tracking.download(made["model"], made["version"], Path(temporary) / "model")
        pair = load_weights(model.load(), folder)
    rows, shown = _score(
        stage,
        config,
        pair,
        model=f"{made['model']} version {made['version']}",
        checkpoint_id=made["checkpoint_id"],
        strategy=strategy,
        seed=seed,
    )
    tracking.log_evaluation(
        made["mlflow_run_id"],
        {f"{config.split}_{name}": float(shown[name]) for name in ("loss", "accuracy")}
        | {f"{config.split}_{row['metric']}.{row['task']}": row["value"] for row in rows},
    )
    return _recorded(stage, rows, shown, {"model": made["model"], "version": made["version"]})


@dg.asset(
    deps=[
        "baseline_evaluation",
        dg.AssetDep("evaluation", partition_mapping=dg.AllPartitionMapping()),
    ],
    group_name="evaluation",
    owners=[OWNER],
    kinds={"python"},
    code_version=CODE_VERSION,
)
def leaderboard(
    context: dg.AssetExecutionContext, config: LeaderboardConfig, storage: Storage
) -> dg.MaterializeResult:
    """Strategies over seeds: mean, spread and the paired difference from the reference strategy."""
    partitions = sorted(context.instance.get_materialized_partitions(dg.AssetKey("evaluation")))
    found = [made for one in partitions for made in materializations(context.instance, "evaluation", one)]
    stage = begin(
        context,
        storage,
        config,
        asset="leaderboard",
        code_version=CODE_VERSION,
        reads=["baseline_evaluation"],
    )
    stage.upstream |= {f"evaluation {made.partition}": made for made in found}
    if again := stage.previous(["leaderboard"]):
        return again[0]
    # Scores on other benchmark data, or with other settings, cannot be compared.
    base = stage.upstream["baseline_evaluation"].record
    comparable = [
        made
        for made in found
        if made.record["configuration"] == base["configuration"]
        and made.record["upstream"]["benchmark_splits"]["data_version"]
        == base["upstream"]["benchmark_splits"]["data_version"]
    ]
    rows = [
        row for record in (base, *(made.record for made in comparable)) for row in record["facts"]["rows"]
    ]
    board = standings(rows, config.reference)
    shown = as_rows(board)
    meaning = verdict(board, config.reference)

    def draw(axes: "Axes") -> None:
        for place, one in enumerate(board):
            if one.loss is not None:
                axes.bar(
                    place,
                    one.loss,
                    yerr=one.loss_spread or 0,
                    capsize=4,
                    color=COLOURS[5] if one.strategy == BASE else COLOURS[0],
                )
                axes.text(place, one.loss, f"{one.loss:.3f}", ha="center", va="bottom", fontsize=9)
        axes.set_xticks(range(len(board)), [one.strategy for one in board])
        lowest = min((one.loss for one in board if one.loss is not None), default=0.0)
        axes.set_ylim(bottom=0.8 * lowest)

    return stage.result(
        [],
        {
            "leaderboard": table(shown),
            "verdict": dg.MetadataValue.md(meaning),
            "left_out": table(
                [
                    {"partition": made.partition, "reason": "other benchmark data or scoring settings"}
                    for made in found
                    if made not in comparable
                ]
            ),
            "plot": plot(
                draw,
                title="Held-out loss by strategy, mean and standard deviation over seeds (axis does not start at 0)",
                y="nats per token",
            ),
        },
        content=digest(shown),
        facts={"reference": config.reference, "rows": shown, "verdict": meaning},
    )

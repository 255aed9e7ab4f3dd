"""The door of the leaderboard: strategies and the base model compared, over seeds and question by question."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.evaluation.alike import are_alike
from assets.evaluation.config import LeaderboardConfig
from assets.evaluation.leaderboard import BASE, as_rows, standings, verdict
from assets.evaluation.paired import BenchmarkStanding, Marks, benchmark_standings, marks_of
from assets.evaluation.shown import quoted_metrics
from assets.identity import digest
from assets.materialization import OWNER, Stage, begin
from assets.materialized import Materialized, newest_of_partitions
from assets.partitions import materialized_partitions
from assets.presentation import COLOURS, plot, table
from assets.records import EVALUATION_ANSWERS, SPLITS
from assets.retries import tried_again
from resources.definitions import Storage
from resources.tables import LanceTables
from resources.text import id_filter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CODE_VERSION = "2"


def read_answers(
    tables: LanceTables, evaluation: Materialized, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows of EVALUATION_ANSWERS that an evaluation made; `columns`: only these."""
    mine = id_filter("scoring_id", [evaluation.record["facts"]["scoring_id"]])
    found: list[dict[str, Any]] = tables.read(
        evaluation.table(EVALUATION_ANSWERS.table), columns=columns, filter=mine
    ).to_pylist()
    return found


def _benchmarks(
    stage: Stage, config: LeaderboardConfig, evaluations: list[Materialized]
) -> list[BenchmarkStanding]:
    """Strategies on each benchmark and on the split, with paired intervals."""
    marks: dict[tuple[str, int], Marks] = {}
    for made in evaluations:
        answers = read_answers(stage.tables, made, ["benchmark", "question_id", "scores"])
        rows = made.record["facts"]["rows"]
        marks[rows[0]["strategy"], rows[0]["seed"]] = marks_of(answers, quoted_metrics(SPLITS))
    return benchmark_standings(
        marks, config.reference, samples=config.bootstrap_samples, seed=config.bootstrap_seed
    )


@dg.asset(
    deps=[
        "baseline_evaluation",
        dg.AssetDep("evaluation", partition_mapping=dg.AllPartitionMapping()),
    ],
    group_name="8_evaluation",
    owners=[OWNER],
    kinds={"python"},
    code_version=CODE_VERSION,
)
@tried_again
def leaderboard(
    context: dg.AssetExecutionContext, config: LeaderboardConfig, storage: Storage
) -> dg.MaterializeResult:
    """Strategies over seeds, and question by question on each benchmark, with the base model."""
    partitions = materialized_partitions(context.instance, "evaluation")
    found = newest_of_partitions(context.instance, "evaluation", partitions)
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
    comparable = [made for made in found if are_alike(made.record, base)]
    rows = [
        row for record in (base, *(made.record for made in comparable)) for row in record["facts"]["rows"]
    ]
    board = standings(rows, config.reference)
    shown = as_rows(board)
    meaning = verdict(board, config.reference)
    paired = _benchmarks(stage, config, [stage.upstream["baseline_evaluation"], *comparable])

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
            "by_question": table([one.row(config.reference) for one in paired]),
            "by_task": table(
                [
                    {
                        name: row[name]
                        for name in (
                            "task",
                            "metric",
                            "strategy",
                            "seed",
                            "value",
                            "standard_error",
                            "examples",
                            "overlapping",
                            "value_without_overlap",
                        )
                    }
                    for row in sorted(rows, key=_order)
                ]
            ),
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
        content=digest([shown, [asdict(one) for one in paired]]),
        facts={
            "reference": config.reference,
            "rows": shown,
            "verdict": meaning,
            "by_question": [asdict(one) for one in paired],
        },
    )


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """By split, task and metric; the base model before strategies."""
    return row["split"], row["task"], row["metric"], row["strategy"] != BASE, row["strategy"], row["seed"]

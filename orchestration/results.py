"""What a finished run shows: the leaderboard, benchmarks, the registered models and where they lie."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from assets.materialized import materializations, require
from assets.records import SPLITS


def show_results(
    instance: dg.DagsterInstance, console: Console, partitions: Sequence[dg.MultiPartitionKey]
) -> None:
    """Prints the leaderboard, scores on benchmarks and the registered model version of each partition."""
    facts = require(instance, "leaderboard").record["facts"]
    board = Table(
        title="Leaderboard, test split (lower loss and higher accuracy are better)", title_justify="left"
    )
    for column in ("strategy", "seeds", "loss", "± sd", "accuracy", "± sd", f"loss − {facts['reference']}"):
        board.add_column(column, justify="left" if column == "strategy" else "right")
    for row in facts["rows"]:
        board.add_row(
            row["strategy"],
            str(row["seeds"]),
            *(
                "" if row[name] is None else f"{row[name]:.4f}"
                for name in ("loss", "loss_spread", "accuracy", "accuracy_spread", "loss_difference")
            ),
        )
    console.print(board)
    console.print(facts["verdict"].replace("**", "").replace("\n\n", "\n"), markup=False)
    _show_benchmarks(facts, console)
    models = Table(title="Registered models", title_justify="left")
    for column in ("partition", "model", "MLflow run", "manifest"):
        models.add_column(column)
    for partition in partitions:
        made = require(instance, "checkpoint", str(partition)).record["facts"]
        traced = materializations(
            instance, "lineage_manifest", str(partition)
        )  # none where a run ends before it
        models.add_row(
            str(partition),
            f"{made['model']} version {made['version']}",
            made["mlflow_run_id"],
            traced[0].record["facts"]["file"] if traced else "",
        )
    console.print(models)


def _show_benchmarks(facts: Mapping[str, Any], console: Console) -> None:
    rows = [row for row in facts["by_question"] if row["benchmark"] not in SPLITS]
    if not rows:
        return
    board = Table(title="Benchmarks, with standard errors over questions", title_justify="left")
    for column in ("benchmark", "metric", "strategy", "seeds", "questions", "value", "− base [95 %]"):
        right = column in ("seeds", "questions", "value", "− base [95 %]")
        board.add_column(column, justify="right" if right else "left")
    for row in rows:
        error, base = row["standard_error"], row["against_base"]
        board.add_row(
            row["benchmark"],
            row["metric"],
            row["strategy"],
            str(row["seeds"]),
            str(row["questions"]),
            f"{row['value']:.4f}" + ("" if error is None else f" ± {error:.4f}"),
            "" if base is None else f"{base['mean']:+.4f} [{base['low']:+.4f}, {base['high']:+.4f}]",
        )
    console.print(board)

"""What a finished run shows: the leaderboard, the registered models and where they lie."""

from collections.abc import Sequence

import dagster as dg
from rich.console import Console
from rich.table import Table

from assets.materialized import require


def show_results(
    instance: dg.DagsterInstance, console: Console, partitions: Sequence[dg.MultiPartitionKey]
) -> None:
    """Prints the leaderboard and the registered model version of each partition."""
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
    models = Table(title="Registered models", title_justify="left")
    for column in ("partition", "model", "MLflow run", "manifest"):
        models.add_column(column)
    for partition in partitions:
        made = require(instance, "checkpoint", str(partition)).record["facts"]
        manifest = require(instance, "lineage_manifest", str(partition)).record["facts"]["file"]
        models.add_row(
            str(partition), f"{made['model']} version {made['version']}", made["mlflow_run_id"], manifest
        )
    console.print(models)

"""Commands that make a model, and tell how far it is: `run` and `status`."""

from pathlib import Path
from typing import Annotated

import typer

from assets.partitions import STRATEGIES
from orchestration.commands.shared import AsJson, answer, explained

RUN_EXAMPLES = (
    "sultana run --preset demo",
    "sultana run --source my.jsonl --reward asked.jsonl --test held-out.jsonl",
    "sultana run --config my.yaml --strategy raise --strategy random --seed 0 --seed 1",
    "sultana run --to diversity_clusters",
)
STATUS_EXAMPLES = ("sultana status", "sultana status --json | jq '.assets[] | select(.state == \"stale\")'")


def run(
    preset: Annotated[
        str, typer.Option(help="Settings to start from: default, demo, paper or smoke.")
    ] = "default",
    config: Annotated[
        Path | None, typer.Option(help="Dagster run configuration (YAML), as in the Launchpad.")
    ] = None,
    source: Annotated[
        list[str], typer.Option(help="File, folder, glob, hf:// dataset or fsspec address; may be repeated.")
    ] = [],
    reward: Annotated[list[str], typer.Option(help="Source of the reward split.")] = [],
    early_stopping: Annotated[list[str], typer.Option(help="Source of the early-stopping split.")] = [],
    test: Annotated[list[str], typer.Option(help="Source of the test split.")] = [],
    maximum_rows: Annotated[
        int | None, typer.Option(min=0, help="Sample this many rows of the sources; 0: all.")
    ] = None,
    strategy: Annotated[
        list[str],
        typer.Option(
            help=f"Strategy to train with; may be repeated. One of {', '.join(STRATEGIES)}; a label of yours may "
            "follow behind a hyphen (raise-two-rounds)."
        ),
    ] = [],
    seed: Annotated[list[int], typer.Option(help="Seed to train with; may be repeated.")] = [],
    to: Annotated[str, typer.Option(help="Asset to stop at; with all it depends on.")] = "",
) -> None:
    """Materialize assets in flow order, from sources to a leaderboard; what is fresh is reused.

    Nothing runs before every setting has been checked. A run that was stopped or killed goes on with the same
    command.
    """
    from orchestration.run import Request, run_request

    request = Request(
        preset=preset,
        config=config,
        sources=tuple(source),
        splits={"reward": tuple(reward), "early_stopping": tuple(early_stopping), "test": tuple(test)},
        maximum_rows=maximum_rows,
        strategies=tuple(strategy),
        seeds=tuple(seed),
        to=to,
    )
    with explained(remedy="Run the same command again; finished work is reused") as console:
        run_request(request, console)


def status(as_json: AsJson = False) -> None:
    """Show what is materialized: rows, age, and whether code or inputs have changed since."""
    from orchestration.status import read_status, show_status

    with explained(as_json=as_json) as console:
        found = read_status()
        if not as_json:
            show_status(found, console)
    answer(found, as_json)

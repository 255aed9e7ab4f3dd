"""The `sultana` command. It drives the Dagster definitions, and nothing beside them."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from assets.selection.strategies import REGISTRY
from orchestration.console import open_console
from resources.environment import apply_safe_defaults

apply_safe_defaults()
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Versioned lineage for instruction tuning.",
)
PROJECT = Path(__file__).resolve().parent.parent
AGAIN = "Run the same command again"
NOTHING_EXPORTED = "Stopped by the keyboard; nothing was exported"
Reference = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@ALIAS|/VERSION]",
        help="A registered model. Without alias or version: champion, else candidate, else the newest.",
    ),
]
TrackingUri = Annotated[
    str, typer.Option(help="MLflow store to read. [default: that of the data folder]", show_default=False)
]


def _refuse(error: Exception) -> typer.Exit:
    from orchestration.console import error as print_error

    print_error(str(error))
    return typer.Exit(1)


@contextlib.contextmanager
def _explained(stopped: str, remedy: str) -> Iterator[None]:
    """Any failure as one sentence and exit status 1; defects keep their traceback."""
    from orchestration.failures import explain
    from resources.definitions import data_folder
    from resources.errors import SultanaError

    try:
        yield
    except Exception as error:
        explained = explain(error, data_folder())
        if explained is None:
            raise
        raise _refuse(explained) from None
    except KeyboardInterrupt:
        raise _refuse(SultanaError(stopped, remedy)) from None


@app.command()
def run(
    preset: Annotated[str, typer.Option(help="Settings to start from: default, demo or smoke.")] = "default",
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
        typer.Option(help=f"Strategy to train with; may be repeated. One of {', '.join(REGISTRY)}."),
    ] = [],
    seed: Annotated[list[int], typer.Option(help="Seed to train with; may be repeated.")] = [],
    to: Annotated[str, typer.Option(help="Asset to stop at; with all it depends on.")] = "",
) -> None:
    """Materialize assets, in flow order; what is fresh is reused."""
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
    with _explained("Stopped by the keyboard", "Run the same command again; finished work is reused"):
        run_request(request, open_console())


@app.command()
def status() -> None:
    """Show what is materialized: rows, age, and whether code or inputs have changed since."""
    from orchestration.status import show_status

    show_status(open_console())


@app.command()
def doctor() -> None:
    """Check installation, data folder, tables and registry; say what is wrong and the remedy."""
    from orchestration.doctor import examine

    raise typer.Exit(examine(open_console()))


@app.command()
def export(
    out_folder: Annotated[
        Path, typer.Argument(metavar="OUT_FOLDER", help="Folder to write; must not exist, or be empty.")
    ],
    format: Annotated[
        str, typer.Option(help="jsonl, parquet or datasets (a Hugging Face dataset on disk).")
    ] = "jsonl",
    strategy: Annotated[
        str | None, typer.Option(help="Export the curriculum of this strategy; with --seed.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of that curriculum.")] = None,
) -> None:
    """Write a curated set: originals, recipes of mixed rows, a dataset card and a loader.

    The representatives of the newest diversity_clusters, or the rows of one curriculum.
    """
    from orchestration.export import export as export_curated

    with _explained(NOTHING_EXPORTED, AGAIN):
        export_curated(out_folder, format, strategy, seed, open_console())


@app.command()
def export_model(
    model: Reference,
    out_folder: Annotated[
        Path, typer.Argument(metavar="OUT_FOLDER", help="Folder to write; must not exist, or be empty.")
    ],
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Merge an adapter into its base model: loads by transformers alone."),
    ] = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Write a registered version with a model card, its files hashed against the registry first.

    An adapter as it is, for peft; with --merge all weights as safetensors. (For GGUF, give the merged folder to
    convert_hf_to_gguf.py of llama.cpp.)
    """
    from orchestration.model_export import export_model as export_registered

    with _explained(NOTHING_EXPORTED, AGAIN):
        export_registered(model, out_folder, open_console(), merge=merge, tracking_uri=tracking_uri)


@app.command()
def promote(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="Without either: the alias candidate.")
    ],
    margin: Annotated[
        float | None,
        typer.Option(min=0, help="Nats per token by which the mean loss has to be lower. [default: 0.01]"),
    ] = None,
    accuracy_margin: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share by which the mean accuracy has to be higher; alone or with --margin."
        ),
    ] = None,
    guard: Annotated[
        list[str], typer.Option(help="Task that may not get worse; may be repeated. [default: all]")
    ] = [],
    loss_tolerance: Annotated[
        float, typer.Option(min=0, help="Nats per token that the loss of a guard task may be higher.")
    ] = 0.02,
    accuracy_tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Share that another score of a guard task may be lower.")
    ] = 0.02,
    force: Annotated[bool, typer.Option("--force", help="Waive the rule; with --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why; goes on the record.")] = "",
    tracking_uri: TrackingUri = "",
) -> None:
    """Make a version the champion, if it is better than the present one on the test split.

    Better by a margin in the mean over tasks, and no worse, within a tolerance, on any guard task. Without a
    champion the base model is what it has to beat. The decision and its evidence are kept.
    """
    from assets.lineage.promotion import PromotionRule
    from orchestration.promotion import promote as promote_version

    with _explained("Stopped by the keyboard", AGAIN):
        rule = PromotionRule(
            loss_margin=PromotionRule.loss_margin if margin is None and accuracy_margin is None else margin,
            accuracy_margin=accuracy_margin,
            loss_tolerance=loss_tolerance,
            accuracy_tolerance=accuracy_tolerance,
            guards=tuple(sorted(set(guard))),
        )
        promote_version(model, rule, open_console(), force=force, reason=reason, tracking_uri=tracking_uri)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    reason: Annotated[str, typer.Option(help="Why; goes on the record.")] = "",
    tracking_uri: TrackingUri = "",
) -> None:
    """Take the last promotion that stands back: the version before it is the champion again."""
    from orchestration.promotion import rollback as take_back

    with _explained("Stopped by the keyboard", AGAIN):
        take_back(model, open_console(), reason=reason, tracking_uri=tracking_uri)


@app.command()
def generate(
    model: Reference,
    prompt: Annotated[
        str | None, typer.Option(help="Answer this and exit. Without it: a conversation; Ctrl-D ends it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    temperature: Annotated[
        float, typer.Option(min=0, max=100, help="0: the likeliest token every time.")
    ] = 0.0,
    maximum_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply, in tokens.")] = 256,
    tracking_uri: TrackingUri = "",
) -> None:
    """Chat with a registered version in the terminal."""
    from orchestration.generate import Sampling
    from orchestration.generate import generate as answer

    with _explained("Stopped by the keyboard", AGAIN):
        answer(model, prompt, Sampling(seed, temperature, maximum_new_tokens), tracking_uri)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 3000) -> None:
    """Start the Dagster web server and daemon on this machine only."""
    from orchestration.dead_runs import fail_dead_runs
    from orchestration.instance import open_instance
    from resources.definitions import data_folder
    from resources.errors import SultanaError

    workspace = PROJECT / "workspace.yaml"
    if not workspace.exists():
        raise _refuse(
            SultanaError(
                f"{workspace} is missing", "Run from a checkout of Sultana, installed with `make install`"
            )
        )
    with open_instance(data_folder()) as instance:
        fail_dead_runs(instance)
    os.environ["SULTANA_DATA"] = str(data_folder())
    open_console().print(f"Dagster UI: http://127.0.0.1:{port}  (Ctrl+C stops it)")
    os.chdir(PROJECT)
    # A shell without job control starts background commands deaf to SIGINT, and Dagster then to SIGTERM too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "dagster",
            "dev",
            "-w",
            str(workspace),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "--log-level",
            "warning",
        ],
    )


def main() -> None:
    """Entry point of the `sultana` command."""
    app()


if __name__ == "__main__":
    main()

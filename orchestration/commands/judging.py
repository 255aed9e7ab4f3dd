"""Commands about registered versions: `compare`, `report`, `promote` and `rollback`."""

from pathlib import Path
from typing import Annotated

import typer

from assets.lineage.promotion import PromotionRule
from orchestration.commands.shared import AsJson, Reference, TrackingUri, answer, explained

COMPARE_EXAMPLES = (
    "sultana compare sultana@champion sultana@candidate",
    "sultana compare sultana/3 sultana/4 --rows differing.parquet",
    "sultana compare sultana/3 sultana/4 --json | jq '.lineage.curriculum.tasks[:5]'",
)
REPORT_EXAMPLES = ("sultana report sultana report.html", "sultana report sultana/3 version-3.html")
PROMOTE_EXAMPLES = (
    "sultana promote sultana",
    "sultana promote sultana/3 --accuracy-margin 0.01 --guard arithmetic",
    'sultana promote sultana/3 --force --reason "asked for by the team"',
)
ROLLBACK_EXAMPLES = ('sultana rollback sultana --reason "worse in use"',)


def compare(
    ours: Annotated[str, typer.Argument(metavar="A", help="MODEL, MODEL@ALIAS or MODEL/VERSION.")],
    theirs: Annotated[str, typer.Argument(metavar="B", help="What A is compared with, written alike.")],
    rows: Annotated[
        Path | None,
        typer.Option(
            help="Also write every row that differs, with its side and origins: .parquet or .jsonl."
        ),
    ] = None,
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Tell what changed between two versions, down to rows, and which scores changed with it.

    Assets that differ and why, rows added, removed and changed, rows that one curriculum alone chose; then scores,
    as A − B over the questions that both answered, with 95 % intervals of a paired bootstrap, beside the change in
    share of the rows of the same task. Scores are compared where both were evaluated on the same data alike.
    """
    from orchestration.comparing import compare_versions
    from orchestration.comparison_shown import show_comparison

    with explained(as_json=as_json) as console:
        found = compare_versions(ours, theirs, tracking_uri, rows)
        if not as_json:
            show_comparison(found, console)
    answer(found, as_json)


def report(
    model: Reference,
    out: Annotated[Path, typer.Argument(metavar="OUT.html", help="File to write; must not exist.")],
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Write one HTML file about a version, to mail or to keep: it opens offline and loads nothing.

    What the model is and was trained on, how it compares with the base model and other strategies, what was chosen
    when, curves, sources with licences, sample answers. A promotion keeps the same report with the MLflow run.
    """
    from orchestration.reporting import write_report

    with explained("Stopped by the keyboard; no report was written", as_json=as_json) as console:
        told = write_report(model, out, console, tracking_uri=tracking_uri)
    answer(told, as_json)


def promote(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="Without either: the alias candidate.")
    ],
    margin: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Nats per token by which the mean loss has to be lower. "
            f"[default: {PromotionRule.loss_margin}]",
        ),
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
    ] = PromotionRule.loss_tolerance,
    accuracy_tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Share that another score of a guard task may be lower.")
    ] = PromotionRule.accuracy_tolerance,
    force: Annotated[bool, typer.Option("--force", help="Waive the rule; with --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why; goes on the record.")] = "",
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Make a version the champion, if it is better than the present one on the test split.

    Better by a margin in the mean over tasks, and no worse, within a tolerance, on any guard task. Without a
    champion the base model is what it has to beat. The decision and its evidence are kept.
    """
    from orchestration.promotion import promote as promote_version

    with explained(as_json=as_json) as console:
        rule = PromotionRule(
            loss_margin=PromotionRule.loss_margin if margin is None and accuracy_margin is None else margin,
            accuracy_margin=accuracy_margin,
            loss_tolerance=loss_tolerance,
            accuracy_tolerance=accuracy_tolerance,
            guards=tuple(sorted(set(guard))),
        )
        told = promote_version(model, rule, console, force=force, reason=reason, tracking_uri=tracking_uri)
    answer(told, as_json)


def rollback(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    reason: Annotated[str, typer.Option(help="Why; goes on the record.")] = "",
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Take the last promotion that stands back: the version before it is the champion again."""
    from orchestration.promotion import rollback as take_back

    with explained(as_json=as_json) as console:
        told = take_back(model, console, reason=reason, tracking_uri=tracking_uri)
    answer(told, as_json)

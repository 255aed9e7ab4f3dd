"""Commands about rows that may not be trained on any more: `retract` and `retractions`."""

from typing import Annotated

import typer

from orchestration.commands.shared import AsJson, TrackingUri, answer, explained

RETRACT_EXAMPLES = (
    'sultana retract 0f3c… --reason "asked for by its author" --dry-run',
    'sultana retract --source scraped --reason "licence withdrawn"',
    'sultana retract --file train.jsonl:12 --reason "holds an address" --erase',
    'sultana retract --undo 4be1… --reason "was a mistake"',
)
RETRACTIONS_EXAMPLES = ("sultana retractions", "sultana retractions --json | jq '.standing'")


def retract(
    rows: Annotated[
        list[str],
        typer.Argument(metavar="[ROW]...", help="Ids of instructions or origins.", show_default=False),
    ] = [],
    source: Annotated[str, typer.Option(help="Every row of this source, also later ones.")] = "",
    licence: Annotated[str, typer.Option(help="Every row under this licence, also later ones.")] = "",
    file: Annotated[
        str,
        typer.Option(metavar="FILE[:LINE]", help="Every row of a file, or what stands on one line of it."),
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; goes on the record.")] = "",
    erase: Annotated[
        bool,
        typer.Option(
            "--erase", help="Remove text, vectors and states as well, from every version; for good."
        ),
    ] = False,
    keep_champion: Annotated[
        str, typer.Option(help="Why models that were trained on them keep the alias champion.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    undo: Annotated[str, typer.Option(metavar="ID", help="Lift this retraction; with --reason.")] = "",
    list_all: Annotated[
        bool, typer.Option("--list", help="Show all, as `sultana retractions` does.")
    ] = False,
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Retract rows: they are never trained on again, models that saw them are named, and no champion is one.

    A decision on the record: rules on rows, a source, a licence or a file, that hold for later rows as well.
    Instructions become stale and are made without them; mixes fall with either parent.
    """
    from orchestration.retracting import Request, history, plan, undo_retraction
    from orchestration.retracting import retract as retract_rows
    from orchestration.retraction_shown import show_history, show_lifted, show_retraction

    others = bool(rows or source or licence or file)
    if (list_all or undo) and others or (list_all and undo):
        raise typer.BadParameter("--list and --undo stand alone")
    with explained(as_json=as_json) as console:
        if list_all:
            found, show = history(), show_history
        elif undo:
            found, show = undo_retraction(undo, reason, tracking_uri), show_lifted
        else:
            request = Request(tuple(rows), source, licence, file, reason, erase, keep_champion)
            found = plan(request, tracking_uri) if dry_run else retract_rows(request, tracking_uri)
            show = show_retraction
        if not as_json:
            show(found, console)
    answer(found, as_json)


def retractions(as_json: AsJson = False) -> None:
    """Show every retraction: which stand, which were lifted, by whom, when and why."""
    from orchestration.retracting import history
    from orchestration.retraction_shown import show_history

    with explained(as_json=as_json) as console:
        found = history()
        if not as_json:
            show_history(found, console)
    answer(found, as_json)

"""Commands that prove where something came from or went: `audit` and `trace`."""

from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.shared import AsJson, Reference, TrackingUri, answer, explained

AUDIT_EXAMPLES = (
    "sultana audit sultana@champion",
    "sultana audit sultana/3 --rows rows.parquet",
    "sultana audit sultana --json | jq '.totals.sources'",
)
TRACE_EXAMPLES = ("sultana trace train.jsonl:12", "sultana trace 0f3c… (an id as the tables show it)")


def audit(
    model: Reference,
    rows: Annotated[
        Path | None,
        typer.Option(
            help="Also write every step and slot with its row, parents and origins: .parquet or .jsonl."
        ),
    ] = None,
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Tell what went into a version: its chain of materializations, sources, licences, tasks, most used rows.

    Read from the table versions that it was made from, by the pointers recorded then, never from the newest.
    """
    from orchestration.audit_shown import show_audit
    from orchestration.auditing import audit as audit_version

    with explained(as_json=as_json) as console:
        found = audit_version(model, rows, tracking_uri=tracking_uri)
        if not as_json:
            show_audit(found, console)
    answer(found, as_json)


def trace(
    row: Annotated[
        str,
        typer.Argument(metavar="ROW", help="Id of a row, an origin or a mix; or FILE:LINE, lines from 1."),
    ],
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Tell where a row went: kept or dropped and why, mixed with whom, chosen when, which models saw it."""
    from orchestration.audit_shown import show_trace
    from orchestration.tracing import trace as trace_row

    with explained(as_json=as_json) as console:
        found = trace_row(row, tracking_uri)
        if not as_json:
            show_trace(found, console)
    answer(found, as_json)

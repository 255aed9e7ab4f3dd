"""Commands that prove where something came from or went: `audit` and `trace`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.shared import PROBLEM, AsJson, Reference, TrackingUri, answer, explained
from orchestration.console import drawn_progress
from resources.errors import SultanaError

AUDIT_EXAMPLES = (
    "sultana audit sultana@champion",
    "sultana audit sultana/3 --rows rows.parquet",
    "sultana audit sultana/3 --verify --page audit.html",
    "sultana audit sultana/3 --verify --replay",
    "sultana audit sultana --json | jq '.totals.sources'",
)
PROVE_EXAMPLES = (
    "sultana prove sultana@champion train.jsonl:12 proof",
    "sultana prove sultana/3 0f3c… proof && python proof/check_proof.py proof/proof.json",
)
TRACE_EXAMPLES = (
    "sultana trace train.jsonl:12",
    "sultana trace 0f3c… (an id as the tables show it)",
    "sultana trace --text \"Name three primary colours.\" --json | jq '.models'",
    "sultana trace --text @answer.txt --match 2",
)


def audit(
    model: Reference,
    rows: Annotated[
        Path | None,
        typer.Option(
            help="Also write every step and slot with its row, parents and origins: .parquet or .jsonl."
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Also write the audit as one HTML file that opens offline: .html."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Recompute every hash from stored bytes; ends with 1 where one does not hold."
        ),
    ] = False,
    every_row: Annotated[
        bool,
        typer.Option(
            "--every-row",
            help="The same, and each row's hash even where its file is the one that was recorded.",
        ),
    ] = False,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay", help="Train again from the ledger and compare weights; ends with 1 where they differ."
        ),
    ] = False,
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Tell what went into a version: its chain of materializations, sources, licences, tasks, most used rows.

    Read from the table versions that it was made from, by the pointers recorded then, never from the newest; where
    Dagster's database is gone, by the manifest in MLflow.
    """
    from orchestration.audit_shown import show_audit
    from orchestration.auditing import audit as audit_version
    from orchestration.auditing import holds

    with explained(as_json=as_json) as console:
        with drawn_progress(console):
            found = audit_version(
                model,
                rows,
                page,
                verified=verify,
                every_row=every_row,
                replayed=replay,
                tracking_uri=tracking_uri,
            )
        if not as_json:
            show_audit(found, console)
    answer(found, as_json)
    if not holds(found):
        raise typer.Exit(PROBLEM)


def prove(
    model: Reference,
    row: Annotated[
        str,
        typer.Argument(metavar="ROW", help="Id of an instruction or an origin; or FILE:LINE, lines from 1."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; it must not exist yet.")],
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Write a proof that a row was, or was not, in a version's training set, and the script that checks it.

    Who checks needs Python alone, and the hash of the lineage manifest that the model version carries in MLflow, or the
    public key that signed it.
    """
    from orchestration.audit_shown import show_proof
    from orchestration.proving import prove as prove_row

    with explained(as_json=as_json) as console:
        found = prove_row(model, row, out, tracking_uri=tracking_uri)
        if not as_json:
            show_proof(found, console)
    answer(found, as_json)


def trace(
    row: Annotated[
        str | None,
        typer.Argument(metavar="ROW", help="Id of a row, an origin or a mix; or FILE:LINE, lines from 1."),
    ] = None,
    text: Annotated[
        str,
        typer.Option(
            help="Instead: text of a prompt, a response or a message, or a whole row as JSON; @FILE reads a file, - "
            "standard input.",
            show_default=False,
        ),
    ] = "",
    match: Annotated[
        int,
        typer.Option(
            min=0,
            help="With --text: follow the match of this number. 0: the best exact one.",
            show_default=True,
        ),
    ] = 0,
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Tell where a row went: kept or dropped and why, mixed with whom, chosen when, which models saw it.

    With --text the rows that hold a text are found first, exactly or nearly, by words and by meaning.
    """
    from orchestration.text_tracing import trace_text
    from orchestration.trace_shown import show_trace
    from orchestration.tracing import trace as trace_row

    if bool(row) == bool(text):
        raise typer.BadParameter("Give either a ROW or --text")
    with explained(as_json=as_json) as console:
        found = trace_row(row, tracking_uri) if row else trace_text(_given(text), match, tracking_uri)
        if not as_json:
            show_trace(found, console)
    answer(found, as_json)


def _given(text: str) -> str:
    """The text of an option: itself, the content of @FILE, or of standard input for -."""
    if text != "-" and not text.startswith("@"):
        return text
    try:
        content = sys.stdin.buffer.read() if text == "-" else Path(text[1:]).expanduser().read_bytes()
        return content.decode("utf-8")
    except OSError as error:
        raise SultanaError(
            f"{text[1:]} cannot be read: {error.strerror}",
            "Name a file that holds the text",
            code="file-unreadable",
        ) from error
    except UnicodeDecodeError as error:
        where = "Standard input" if text == "-" else text[1:]
        raise SultanaError(
            f"{where} is not UTF-8 text", "Convert it to UTF-8", code="encoding-not-utf8"
        ) from error

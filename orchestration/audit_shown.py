"""Audits as tables for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from resources.text import escape_terminal

MOST_SHOWN = 20


def show_audit(found: Mapping[str, Any], console: Console) -> None:
    """Prints the story of a model first, then its chain, sources, tasks and most used rows."""
    model, manifest, totals = found["model"], found["manifest"], found.get("totals")
    title = f"{model['model']} version {model['version']}{in_brackets(model['aliases'])}"
    console.print(
        f"{title}: {_story(found, totals)}"
        if totals is not None
        else f"{title}: nothing is counted, because what is stored is not what was recorded",
        markup=False,
        soft_wrap=True,
    )
    agrees = {
        True: "the chain below is the one whose hash the model version carries",
        False: f"DIFFERS from {manifest['registered']}, which the model version carries: the record was changed",
        None: "the model version carries none yet (materialize lineage_manifest)",
    }[manifest["agrees"]]
    signed = f"; signed by {manifest['signed_by']}" if manifest["signed_by"] else ""
    if manifest["sha256"] is not None:
        console.print(
            f"Lineage manifest {manifest['sha256']}: {agrees}{signed} (told by {manifest['told_by']})",
            markup=False,
            soft_wrap=True,
        )
    if checked := found.get("verification"):
        _show_verification(checked, console)
    if again := found.get("replay"):
        console.print(_replayed(again), markup=False, soft_wrap=True)
    if totals is None:
        return
    chain = new_board(
        "What it was made of",
        ("asset", "code", "data version", "Lance tables", "started by", "git commit", "run"),
    )
    for one in found["chain"]:
        dirty = "+" if one["git_dirty"] else ""
        chain.add_row(
            f"{one['asset']} {one['partition'] or ''}".strip(),
            one["code_version"],
            one["data_version"][:12],
            ", ".join(f"{ref['table']} v{ref['version']} ({ref['rows']:,})" for ref in one["tables"]),
            escape_terminal(one["started_by"], 40),
            f"{(one['git_commit'] or 'unknown')[:10]}{dirty}",
            one["made_by_run"][:8],
        )
    sources = _counted("Where its rows came from", ("source", "licence"), totals["sources"])
    tasks = _counted("Tasks", ("task",), totals["tasks"])
    used = new_board(
        "Most used rows", ("row", "kind", "slots", "from step", "why"), right=("slots", "from step")
    )
    for one in totals["most_used"]:
        used.add_row(
            one["row_id"],
            one["kind"],
            f"{one['slots']:,}",
            f"{one['first_step']:,}",
            escape_terminal(one["reason"], 80),
        )
    overlaps = new_board(
        "Evaluation examples that share text with rows trained on",
        ("split", "task", "metric", "examples", "overlapping"),
        right=("examples", "overlapping"),
    )
    for one in found["contamination"]:
        if one["overlapping"]:
            overlaps.add_row(
                one["split"],
                escape_terminal(one["task"], 40),
                one["metric"],
                f"{one['examples']:,}",
                f"{one['overlapping']:,}",
            )
    console.print(chain, sources, tasks, used)
    _show_influences(totals["influences"], console)
    if overlaps.row_count:
        console.print(overlaps)
    elif found["contamination"]:
        console.print("No evaluation example shares text with a row trained on.")
    _show_retractions(found["retractions"], console)
    if written := found.get("rows_file"):
        console.print(
            f"Every slot with its origins: {written['file']} ({written['rows']:,} rows)", markup=False
        )
    if page := found.get("page_file"):
        console.print(f"The audit as a page: {page}", markup=False)


def _show_retractions(found: Mapping[str, Any], console: Console) -> None:
    """Prints what was retracted, and whether the model was trained on any of it."""
    if not found["now"] and not found["when_made"]:
        return
    then = {one["retraction_id"] for one in found["when_made"]}
    now = {one["retraction_id"] for one in found["now"]}
    held = {one["retraction_id"]: one for one in found["held"]}
    board = new_board(
        "Retractions",
        ("retraction", "what", "why", "stood when it was made", "stands now", "instructions of it", "slots"),
        right=("instructions of it", "slots"),
    )
    for one in {one["retraction_id"]: one for one in (*found["when_made"], *found["now"])}.values():
        identity = one["retraction_id"]
        seen = held.get(identity, {"instructions": 0, "slots": 0})
        board.add_row(
            identity[:12],
            escape_terminal(one["title"], 60),
            escape_terminal(one["reason"], 60),
            "yes" if identity in then else "no",
            "yes" if identity in now else "lifted",
            f"{seen['instructions']:,}",
            f"{seen['slots']:,}",
        )
    console.print(board)
    if found["erased"]:
        console.print(
            f"The content of {found['erased']:,} of its instructions was erased; ids and origins stay."
        )
    if not held:
        console.print("It was trained on nothing that is retracted.")


def _story(found: Mapping[str, Any], totals: Mapping[str, Any]) -> str:
    return (
        f"{totals['steps']:,} steps of "
        f"{totals['slots'] // totals['steps']} rows, {totals['distinct_rows']:,} distinct rows from "
        f"{totals['distinct_instructions']:,} instructions; {totals['interpolated_slots']:,} of "
        f"{totals['slots']:,} slots mixed ({totals['synthetic_share']:.1%} synthetic); chosen by "
        f"{found['strategy']} ({found['partition']}), "
        f"curriculum {found['curriculum_id']}"
    )


def _replayed(again: Mapping[str, Any]) -> str:
    others = ", ".join(again["environment_differs"])
    where = f"; this environment differs in {others}" if others else ""
    said, tensors = f"Trained again, {again['steps']:,} steps", again["tensors"]
    if again["bit_equal"]:
        return f"{said}: all {tensors:,} tensors are equal, bit for bit{where}."
    verdict = "within" if again["reproduced"] else "BEYOND"
    return (
        f"{said}: {again['bit_equal_tensors']:,} of {tensors:,} tensors are equal bit for bit; {again['worst']} "
        f"differs by {again['largest_difference']:.3g} of its root mean square, {verdict} the tolerance "
        f"of {again['tolerance']:g}{where}."
    )


def _show_verification(checked: Mapping[str, Any], console: Console) -> None:
    if checked["sound"]:
        rows = sum(one["rows"] for one in checked["tables"])
        size = sum(one["bytes"] for one in checked["tables"])
        console.print(
            f"Verified in {checked['seconds']:,.1f} s: {rows:,} rows of {len(checked['tables'])} table versions, "
            f"{sum(one['hashed_rows'] for one in checked['tables']):,} of them one by one "
            f"({size / 1e6:,.1f} MB), {len(checked['model_files'])} files of the model, the base model, parameters and "
            "metrics in MLflow, the commit log, the ledger, every id: all as recorded.",
            soft_wrap=True,
        )
        return
    board = new_board(f"{len(checked['problems'])} problems", ("where", "problem", "remedy"))
    for one in checked["problems"]:
        board.add_row(*(escape_terminal(one[name], 400) for name in ("where", "problem", "remedy")))
    console.print(board)


def show_proof(found: Mapping[str, Any], console: Console) -> None:
    """Prints what was proved, and how to check it."""
    was = "was" if found["included"] else "was not"
    console.print(
        f"Instruction {found['instruction_id']} {was} among the {found['training_set']['instructions']:,} instructions "
        f"that {found['model']} version {found['version']} was trained on"
        + (f" ({len(found['uses']):,} slots)." if found["included"] else "."),
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"Check it: python {found['folder']}/check_proof.py {found['folder']}/proof.json --manifest-sha256 "
        f"{found['manifest_sha256']}",
        markup=False,
        soft_wrap=True,
    )


def _show_influences(found: Mapping[str, Any], console: Console) -> None:
    told = f"Influence by gain: {found['told']}"
    if found["sum"] is None:
        console.print(told, markup=False)
        return
    right = ("gain", "slots", "from step")
    rows = new_board("Top influences: rows", ("row", "kind", *right), right=right)
    for one in found["rows"]:
        rows.add_row(
            one["row_id"],
            one["kind"],
            f"{one['gain']:+.3g}",
            f"{one['slots']:,}",
            f"{one['first_step']:,}",
        )
    behind = new_board(
        "Top influences: instructions, mixes shared out", ("instruction", "task", "source", "gain"), ("gain",)
    )
    for one in found["instructions"]:
        behind.add_row(
            one["instruction_id"],
            escape_terminal(one["task"], 40),
            ", ".join(sorted({place["source"] for place in one["sources"]})),
            f"{one['gain']:+.3g}",
        )
    console.print(rows, behind)
    console.print(f"{told}; {found['sum']:+.4f} in all", markup=False)


def _counted(title: str, names: tuple[str, ...], rows: list[Mapping[str, Any]]) -> Table:
    board = new_board(
        title, (*names, "instructions", "slots", "share"), right=("instructions", "slots", "share")
    )
    for row in rows[:MOST_SHOWN]:
        board.add_row(
            *(escape_terminal(row[name], 60) for name in names),
            f"{row['instructions']:,}",
            f"{row['slots']:,.1f}",
            f"{row['share']:.1%}",
        )
    if len(rows) > MOST_SHOWN:
        board.add_row(f"… and {len(rows) - MOST_SHOWN:,} more: --json shows all")
    return board


def in_brackets(aliases: list[str]) -> str:
    """Aliases behind a version; empty where it has none."""
    return f" ({', '.join(aliases)})" if aliases else ""


def new_board(title: str, columns: tuple[str, ...], right: tuple[str, ...] = ()) -> Table:
    """An empty table with a title; the columns named in `right` are aligned to the right."""
    board = Table(title=title, title_justify="left")
    for column in columns:
        board.add_column(column, justify="right" if column in right else "left")
    return board

"""Audits and traces as tables for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from resources.text import escape_terminal

MOST_SHOWN = 20


def show_audit(found: Mapping[str, Any], console: Console) -> None:
    """Prints the story of a model first, then its chain, sources, tasks and most used rows."""
    model, totals, manifest = found["model"], found["totals"], found["manifest"]
    console.print(
        f"{model['model']} version {model['version']}{_aliases(model['aliases'])}: {totals['steps']:,} steps of "
        f"{totals['slots'] // totals['steps']} rows, {totals['distinct_rows']:,} distinct rows from "
        f"{totals['distinct_instructions']:,} instructions; {totals['interpolated_slots']:,} of "
        f"{totals['slots']:,} slots mixed; chosen by {found['strategy']} ({found['partition']}), "
        f"curriculum {found['curriculum_id']}",
        markup=False,
        soft_wrap=True,
    )
    agrees = {
        True: "the chain below is the one whose hash the model version carries",
        False: f"DIFFERS from {manifest['registered']}, which the model version carries: the record was changed",
        None: "the model version carries none yet (materialize lineage_manifest)",
    }[manifest["agrees"]]
    console.print(f"Lineage manifest {manifest['sha256']}: {agrees}", markup=False, soft_wrap=True)
    chain = _table(
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
    used = _table(
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
    overlaps = _table(
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
    if overlaps.row_count:
        console.print(overlaps)
    elif found["contamination"]:
        console.print("No evaluation example shares text with a row trained on.")
    _show_retractions(found["retractions"], console)
    if written := found.get("rows_file"):
        console.print(
            f"Every slot with its origins: {written['file']} ({written['rows']:,} rows)", markup=False
        )


def _show_retractions(found: Mapping[str, Any], console: Console) -> None:
    """Prints what was retracted, and whether the model was trained on any of it."""
    if not found["now"] and not found["when_made"]:
        return
    then = {one["retraction_id"] for one in found["when_made"]}
    now = {one["retraction_id"] for one in found["now"]}
    held = {one["retraction_id"]: one for one in found["held"]}
    board = _table(
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


def show_trace(found: Mapping[str, Any], console: Console) -> None:
    """Prints what became of a row: where it stood, its mixes, its slots, the models that saw it."""
    origins = _table(
        "Where it stood", ("file and line", "source", "licence", "task", "state", "why", "kept as")
    )
    for row in found["origins"]:
        why = escape_terminal(row["why"], 60)
        if row["why"] == "retracted":
            why += f" by {row['collides_with']}"
        elif row.get("collides_with"):
            why += f" of {row['collides_with']} (similarity {row['similarity']:.2f})"
        origins.add_row(
            escape_terminal(f"{row['file']}:{row['position']}", 60),
            row["source"],
            escape_terminal(row["licence"] or "none named", 30),
            escape_terminal(row["task"] or "", 40),
            row["state"],
            why,
            row["kept_as"] or "",
        )
    mixed = _table("Mixed with", ("mix", "with", "its share"), right=("its share",))
    for row in found["mixes"][:MOST_SHOWN]:
        mixed.add_row(row["recipe_id"], row["mixed_with"], f"{row['share']:.3f}")
    chosen = _table(
        "Chosen",
        ("curriculum", "step", "slot", "as", "score", "weight", "why", "by"),
        right=("step", "slot", "score", "weight"),
    )
    for row in found["chosen"][:MOST_SHOWN]:
        chosen.add_row(
            row["partition"] or row["curriculum_id"][:12],
            f"{row['step']:,}",
            str(row["slot"]),
            "itself" if row["kind"] == "original" else f"mix, {row['share']:.3f}",
            f"{row['score']:.4g}",
            f"{row['weight']:.4g}",
            escape_terminal(row["reason"], 60),
            row["policy_sha256"][:10],
        )
    models = _table(
        "Models that saw it",
        ("model", "partition", "slots", "first step", "last step", "weight"),
        right=("slots", "first step", "last step", "weight"),
    )
    for row in found["models"]:
        models.add_row(
            f"{row['model']} version {row['version']}{_aliases(row['aliases'])}",
            row["partition"] or "",
            f"{row['slots']:,}",
            f"{row['steps'][0]:,}",
            f"{row['steps'][-1]:,}",
            f"{row['weight']:.3f}",
        )
    for one in found["retractions"]:
        lifted = f"; lifted {one['lifted']['decided_at']}: {one['lifted']['reason']}" if one["lifted"] else ""
        console.print(
            escape_terminal(
                f"Retracted by {one['retraction_id']} ({one['title']}, {one['decided_by']}, {one['decided_at']}): "
                f"{one['reason']}{'; content erased' if one['erase'] else ''}{lifted}"
            ),
            markup=False,
            soft_wrap=True,
        )
    for rows, board, none in (
        (found["origins"], origins, "No source holds it."),
        (found["mixes"], mixed, "It was mixed with nothing."),
        (found["chosen"], chosen, "No curriculum chose it."),
        (found["models"], models, "No registered model was trained on it."),
    ):
        console.print(board if rows else none)
        if len(rows) > board.row_count:
            console.print(f"… and {len(rows) - board.row_count:,} more: --json shows all")


def _counted(title: str, names: tuple[str, ...], rows: list[Mapping[str, Any]]) -> Table:
    board = _table(
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


def _aliases(aliases: list[str]) -> str:
    return f" ({', '.join(aliases)})" if aliases else ""


def _table(title: str, columns: tuple[str, ...], right: tuple[str, ...] = ()) -> Table:
    board = Table(title=title, title_justify="left")
    for column in columns:
        board.add_column(column, justify="right" if column in right else "left")
    return board

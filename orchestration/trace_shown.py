"""Traces as tables for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from orchestration.audit_shown import MOST_SHOWN, in_brackets, new_board
from resources.text import escape_terminal

MATCHES_BESIDE = 5
"""Rows like a text that are shown where one of them was picked."""


def show_trace(found: Mapping[str, Any], console: Console) -> None:
    """Prints what became of a row: where it stood, its mixes, its slots, the models that saw it.

    Where it was found by a text, the rows like that come first, and nothing follows where none was picked.
    """
    if "matches" in found:
        _show_matches(found, console)
        if not found["picked"]:
            return
    origins = new_board(
        "Where it stood", ("file and line", "source", "licence", "task", "state", "why", "kept as")
    )
    for row in found["origins"]:
        why = escape_terminal(row["why"], 60)
        if row.get("collides_with"):
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
    mixed = new_board("Mixed with", ("mix", "with", "its share"), right=("its share",))
    for row in found["mixes"][:MOST_SHOWN]:
        mixed.add_row(row["recipe_id"], row["mixed_with"], f"{row['share']:.3f}")
    chosen = new_board(
        "Chosen",
        ("curriculum", "step", "slot", "as", "score", "loss weight", "why", "by"),
        right=("step", "slot", "score", "loss weight"),
    )
    for row in found["chosen"][:MOST_SHOWN]:
        chosen.add_row(
            row["partition"] or row["curriculum_id"][:12],
            f"{row['step']:,}",
            str(row["slot"]),
            "itself" if row["kind"] == "original" else f"mix, {row['share']:.3f}",
            f"{row['score']:.4g}",
            f"{row['loss_weight']:.4g}",
            escape_terminal(row["reason"], 60),
            _policy(row),
        )
    models = new_board(
        "Models that saw it",
        ("model", "partition", "slots", "first step", "last step", "loss weight", "learning rates"),
        right=("slots", "first step", "last step", "loss weight", "learning rates"),
    )
    for row in found["models"]:
        models.add_row(
            f"{row['model']} version {row['version']}{in_brackets(row['aliases'])}",
            row["partition"] or "",
            f"{row['slots']:,}",
            f"{row['steps'][0]:,}",
            f"{row['steps'][-1]:,}",
            f"{row['weight']:.3f}",
            _rates(row["uses"]),
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


def _show_matches(found: Mapping[str, Any], console: Console) -> None:
    how = found["searched"]
    console.print(
        f"Looked in {how['rows']:,} rows (raw_instructions version {how['raw_instructions']}): by words, "
        f"{how['words']}; by meaning, {how['vectors']}",
        markup=False,
        soft_wrap=True,
    )
    board = new_board(
        "Rows like the text",
        ("no.", "id", "what fits", "shared 5-grams", "cosine", "text"),
        right=("no.", "shared 5-grams", "cosine"),
    )
    most = MATCHES_BESIDE if found["picked"] else MOST_SHOWN
    for row in found["matches"][: max(most, found["picked"] or 0)]:
        board.add_row(
            str(row["number"]),
            row["id"],
            f"{row['part']}, exactly" if row["exact"] else row["part"],
            f"{row['jaccard']:.2f}",
            "" if row["cosine"] is None else f"{row['cosine']:.2f}",
            escape_terminal(row["snippet"], 60),
        )
    console.print(board)
    if len(found["matches"]) > board.row_count:
        console.print(f"… and {len(found['matches']) - board.row_count:,} more: --json shows all")
    told = (
        f"What follows is number {found['picked']}."
        if found["picked"]
        else "None holds it exactly: pick one, --match 1."
    )
    console.print(told, markup=False)


def _policy(row: Mapping[str, Any]) -> str:
    by = f"{row['strategy']}, {row['policy_sha256'][:10]}"
    return by if row["policy_round"] is None else f"{by} of round {row['policy_round']}"


def _rates(uses: list[Mapping[str, Any]]) -> str:
    """The lowest and the highest learning rate of the steps; steps that the kept weights do not hold are told."""
    rates = [one["learning_rate"] for one in uses if one["learning_rate"] is not None]
    told = f"{min(rates):.3g} to {max(rates):.3g}" if rates else "not recorded"
    lost = sum(not one["in_weights"] for one in uses)
    return f"{told}; {lost:,} after the weights that were kept" if lost else told

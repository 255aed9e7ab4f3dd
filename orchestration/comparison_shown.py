"""A comparison of two versions for people: a short story first, then tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from assets.lineage.difference.associations import has_changed
from assets.lineage.difference.chains import SAME, SAME_DATA
from resources.text import escape_terminal

MOST_SHOWN = 12
_STORY_REASONS = 4
_OF_CODE = ("code", "package")


def show_comparison(found: Mapping[str, Any], console: Console) -> None:
    """Prints what changed, then which scores changed and what changed with them, then everything in tables."""
    lineage = found["lineage"]
    for line in _story(found):
        console.print(line, markup=False, soft_wrap=True)
    if not lineage["identical"]:
        console.print(_chain(lineage["chain"]))
        if any(not one["same"] for one in lineage["tables"]):
            console.print(_rows(lineage["tables"]))
        if not lineage["curriculum"]["same"]:
            console.print(*_curricula(lineage["curriculum"]))
    if found["not_scored"] is None:
        console.print(_scores(found["scores"]), _associations(found["associations"]["scores"]))
        console.print(f"Beside each score stands {found['associations']['note']}.", markup=False)
        console.print(_tasks(found["tasks"]))
    settings = _table("Settings and inputs that differ", ("setting", "A", "B"), ())
    for row in found["settings"]:
        settings.add_row(row["setting"], *(_value(row[name]) for name in ("a", "b")))
    console.print(*([settings] if found["settings"] else ["No setting differs."]))
    if written := found.get("rows_file"):
        console.print(f"Every row that differs: {written['file']} ({written['rows']:,} rows)", markup=False)


def _story(found: Mapping[str, Any]) -> Iterator[str]:
    lineage, curriculum = found["lineage"], found["lineage"]["curriculum"]
    titles = [f"{one['model']} version {one['version']}" for one in (found["a"], found["b"])]
    yield f"A: {titles[0]}    B: {titles[1]}"
    base = lineage["base_model"]
    if not base["same"]:
        yield (
            f"Their base models differ ({_short(base['a'])} and {_short(base['b'])}): scores compare models and "
            "data together."
        )
    if lineage["identical"]:
        yield "Nothing differs: both are one checkpoint."
    else:
        changed = [one for one in lineage["chain"] if one["state"] not in (SAME, SAME_DATA)]
        same = len(lineage["chain"]) - len(changed)
        names = ", ".join(one["asset"] for one in changed) or "none"
        yield f"Different: {names}. The same: {same} of {len(lineage['chain'])} assets."
        if first := _first_cause(changed):
            yield first
        for one in lineage["tables"]:
            if not one["same"]:
                yield f"{one['table']}: {_counts(one)}."
    yield _told_curriculum(curriculum)
    if found["not_scored"] is not None:
        yield f"Scores are not compared: {found['not_scored']}"
        return
    moved = [row for row in found["associations"]["scores"] if row["changed"]]
    for row in found["scores"]:
        if has_changed(row["difference"]):
            yield f"{row['benchmark']}, {_told_score(row)}."
    if not moved:
        yield "No task's score changed beyond its 95 % interval."
    for row in moved[:3]:
        share = row["share"]
        beside = (
            "no row trained on is of that name"
            if share is None and not curriculum["same"]
            else "the rows are the same"
            if share is None
            else f"its {share['of']}'s share of slots: {share['a']:.1%} against {share['b']:.1%}"
        )
        yield (f"{escape_terminal(row['task'], 40)}, {_told_score(row)}; {beside}.")
    if len(moved) > 3:
        yield f"… and {len(moved) - 3:,} more scores that changed, below."


def _told_score(row: Mapping[str, Any]) -> str:
    return f"{row['metric']}: {row['a']:.4f} against {row['b']:.4f} ({_difference(row['difference'])})"


def _first_cause(changed: Sequence[Mapping[str, Any]]) -> str | None:
    """Why the asset nearest to the sources differs: those after it follow."""
    for one in reversed(changed):
        reasons = [why for why in one["why"] if why["what"] not in ("upstream data", *_OF_CODE)]
        if reasons:
            more = f", and {len(reasons) - _STORY_REASONS} more" if len(reasons) > _STORY_REASONS else ""
            return (
                f"It begins with {one['asset']}: "
                + "; ".join(map(_why, reasons[:_STORY_REASONS]))
                + more
                + "."
            )
    return None


def _told_curriculum(found: Mapping[str, Any]) -> str:
    if found["same"]:
        return f"Both were trained on one curriculum, {found['curriculum_id']}: no row differs."
    a, b, first = found["a"], found["b"], found["first_difference"]
    where = "they hold the same slots" if first is None else f"they part at step {first['step']:,}"
    told = (
        f"Curricula: {found['rows_of_both']:,} rows chosen by both, {a['rows_only_here']:,} by A alone, "
        f"{b['rows_only_here']:,} by B alone; behind them {found['instructions_of_both']:,} instructions of both, "
        f"{a['instructions_only_here']:,} of A and {b['instructions_only_here']:,} of B; {where}"
    )
    largest = next((row for row in found["tasks"] if row["change"]), None)
    if largest is None:
        return f"{told}."
    return (
        f"{told}. The share that changed most: {escape_terminal(largest['task'], 40)}, {largest['a']:.1%} against "
        f"{largest['b']:.1%}."
    )


def _counts(one: Mapping[str, Any]) -> str:
    counts = [f"{one[what]['rows']:,} {what}" for what in ("added", "removed", "changed")]
    return f"{', '.join(counts)} from A to B"


def _chain(chain: Sequence[Mapping[str, Any]]) -> Table:
    board = _table("What each was made of", ("asset", "state", "what differs", "A", "B"), ())
    for one in chain:
        why = [reason for reason in one["why"] if reason["what"] != "package"]
        packages = len(one["why"]) - len(why)
        first = (one["asset"], one["state"])
        for reason in why[:MOST_SHOWN]:
            board.add_row(
                *first,
                escape_terminal(f"{reason['what']} {reason['name']}".strip(), 60),
                _value(reason["a"]),
                _value(reason["b"]),
            )
            first = ("", "")
        if len(why) > MOST_SHOWN or packages:
            rest = f"{len(why) - MOST_SHOWN:,} more" if len(why) > MOST_SHOWN else f"{packages} packages"
            board.add_row(*first, f"… {rest}: --json shows all", "", "")
        elif not why:
            board.add_row(
                *first, "" if one["state"] in (SAME, SAME_DATA) else "nothing that is recorded", "", ""
            )
    return board


def _rows(tables: Sequence[Mapping[str, Any]]) -> Table:
    board = _table(
        "Rows, from A to B", ("table", "change"), ("rows",), ("most from", "most of task", "for example")
    )
    for one in tables:
        if one["same"]:
            board.add_row(one["table"], "one digest, not read", f"{one['a']['rows']:,}", "", "", "")
            continue
        for what in ("added", "removed", "changed"):
            rows = one[what]
            board.add_row(
                one["table"],
                what,
                f"{rows['rows']:,}",
                ", ".join(f"{place['source']} ({place['rows']:,})" for place in rows["sources"][:2]),
                ", ".join(
                    f"{escape_terminal(task['task'], 24)} ({task['rows']:,})" for task in rows["tasks"][:2]
                ),
                escape_terminal(rows["examples"][0], 40) if rows["examples"] else "",
            )
    return board


def _curricula(found: Mapping[str, Any]) -> Iterator[Table]:
    for name, keys in (("tasks", ("task",)), ("sources", ("source", "licence"))):
        board = _table(f"Share of slots by {keys[0]}", keys, ("A", "B", "A − B"))
        for row in found[name][:MOST_SHOWN]:
            board.add_row(
                *(escape_terminal(row[key], 40) for key in keys),
                f"{row['a']:.1%}",
                f"{row['b']:.1%}",
                _change(row["change"]),
            )
        if len(found[name]) > MOST_SHOWN:
            board.add_row(f"… and {len(found[name]) - MOST_SHOWN:,} more: --json shows all")
        yield board


def _scores(rows: Sequence[Mapping[str, Any]]) -> Table:
    scores = _table("Question by question", ("benchmark", "metric"), ("A", "B", "A − B [95 %]", "questions"))
    for row in rows:
        scores.add_row(
            row["benchmark"],
            f"{row['metric']} ({'lower' if row['lower_is_better'] else 'higher'} is better)",
            f"{row['a']:.4f}",
            f"{row['b']:.4f}",
            _difference(row["difference"]),
            f"{row['difference']['questions']:,}" if row["difference"] else "",
        )
    return scores


def _associations(rows: Sequence[Mapping[str, Any]]) -> Table:
    board = _table(
        "Scores by task, and the share of their rows",
        ("task", "metric"),
        ("A − B [95 %]", "share in A", "share in B", "A − B"),
    )
    for row in rows[:MOST_SHOWN]:
        share = row["share"]
        board.add_row(
            escape_terminal(row["task"], 40),
            f"{row['metric']}{' *' if row['changed'] else ''}",
            _difference(row["difference"]),
            *(
                ("", "", "")
                if share is None
                else (f"{share['a']:.1%}", f"{share['b']:.1%}", _change(share["change"]))
            ),
        )
    if len(rows) > MOST_SHOWN:
        board.add_row(f"… and {len(rows) - MOST_SHOWN:,} more: --json shows all")
    board.caption = "* the interval leaves out 0"
    return board


def _tasks(rows: Sequence[Mapping[str, Any]]) -> Table:
    tasks = _table("Task by task", ("split", "task", "metric"), ("examples", "A", "B"))
    for row in rows:
        tasks.add_row(
            row["split"],
            escape_terminal(row["task"], 60),
            row["metric"],
            str(row["examples"]),
            f"{row['a']:.4f}",
            "" if row["b"] is None else f"{row['b']:.4f}",
        )
    return tasks


def _why(reason: Mapping[str, Any]) -> str:
    name = escape_terminal(f"{reason['what']} {reason['name']}".strip(), 60)
    return f"{name} {_value(reason['a'])} against {_value(reason['b'])}"


def _difference(one: Mapping[str, Any] | None) -> str:
    return f"{one['mean']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]" if one else ""


def _change(share: float) -> str:
    return f"{round(share, 3) + 0.0:+.1%}"  # no -0.0 %


def _value(value: Any) -> str:
    return "–" if value is None else _short(value)


def _short(value: Any) -> str:
    return escape_terminal(str(value), 80)


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...], after: tuple[str, ...] = ()) -> Table:
    board = Table(title=title, title_justify="left", caption_justify="left")
    for column in left:
        board.add_column(column)
    for column in right:
        board.add_column(column, justify="right")
    for column in after:
        board.add_column(column)
    return board

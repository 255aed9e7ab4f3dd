"""Retractions as lines and tables for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from resources.text import escape_terminal

MOST_SHOWN = 20


def show_retraction(found: Mapping[str, Any], console: Console) -> None:
    """Prints what a retraction does, or would do, and what is to be done next."""
    hit = found["effects"]
    if not found["decided"]:
        _say(console, f"Would retract {found['title']}; nothing was written")
    elif found["stood_already"]:
        _say(console, f"{found['title']} was retracted before, by {found['retraction_id']}")
    else:
        _say(console, f"Retracted {found['title']}: {found['retraction_id']}")
    elsewhere = (
        f"; {hit['origins_only']:,} stay, since they stand elsewhere too" if hit["origins_only"] else ""
    )
    _say(
        console,
        f"It matches {hit['raw_rows']:,} raw rows: {hit['instructions']:,} instructions are left out{elsewhere}; "
        f"{hit['recipes']:,} recipes have one of them as a parent",
    )
    if hit["near_duplicates"]:
        _say(
            console,
            f"{hit['near_duplicates']:,} near-duplicates that were dropped in favour of these rows may come back: "
            "dropped_instructions names them",
        )
    if hit["known"]:
        _say(
            console,
            f"Nothing matches yet. There are: {', '.join(one or 'none named' for one in hit['known'])}",
        )
    elif not hit["raw_rows"]:
        _say(console, "Nothing matches yet; rows that come later will")
    if hit["curricula"]:
        board = _table("Curricula that hold them", ("curriculum", "partition", "instructions", "slots"))
        for one in hit["curricula"]:
            board.add_row(
                one["curriculum_id"][:12],
                one["partition"] or "",
                f"{one['instructions']:,}",
                f"{one['slots']:,}",
            )
        console.print(board)
    if hit["models"]:
        board = _table("Models that were trained on them", ("model", "partition", "aliases", "instructions"))
        for one in hit["models"]:
            board.add_row(
                f"{one['model']} version {one['version']}",
                one["partition"] or "",
                ", ".join(one["aliases"]),
                f"{one['instructions']:,}",
            )
        console.print(board)
    else:
        console.print("No registered model was trained on them.")
    _champions(found, console)
    if not found["decided"] and found["erase"]:
        console.print("Their content would be erased from every version of every table, for good.")
    if erased := found.get("erased"):
        rows = ", ".join(f"{table} {count:,}" for table, count in erased["rows"].items())
        _say(
            console,
            f"Erased from all versions: {rows or 'nothing'}; {erased['event_strings']:,} strings in Dagster",
        )
        for path in erased["left"]:
            _say(console, f"Still holds text of the rows: {path}")
        _say(console, found["still_there"])
    if found["decided"]:
        _say(
            console,
            "Next: sultana run, or the daemon, leaves them out. What is stale: sultana status. To lift it: sultana "
            f'retract --undo {found["retraction_id"][:12]} --reason "..."',
        )


def _champions(found: Mapping[str, Any], console: Console) -> None:
    champions = [one for one in found["effects"]["models"] if "champion" in one["aliases"]]
    if not found["decided"]:
        for one in champions:
            _say(console, f"{one['model']} version {one['version']} would no longer be the champion")
        return
    for one in found["champions"]:
        now = f"version {one['version']} is the champion again" if one["version"] else "there is no champion"
        _say(console, f"{one['model']}: version {one['previous_version']} is no longer the champion; {now}")
    if champions and found["champion_kept"]:
        _say(console, f"The champion stays: {found['champion_kept']}")


def show_lifted(found: Mapping[str, Any], console: Console) -> None:
    """Prints which retraction was lifted, and what comes back by itself and what does not."""
    lifted = found["lifts"]
    _say(console, f"Lifted {lifted['retraction_id']} ({lifted['title']}): {found['reason']}")
    _say(console, "Its rows come back when instructions are made again: sultana run, or the daemon")
    if lifted["erase"]:
        _say(
            console,
            "What was erased comes back only where the sources still hold it: materialize raw_instructions",
        )
    if found["tagged"]:
        _say(console, f"A champion is not set again by itself; it concerned {', '.join(found['tagged'])}")


def show_history(found: Mapping[str, Any], console: Console) -> None:
    """Prints the retractions that stand, then those that were lifted."""
    stands = {one["retraction_id"]: one for one in found["standing"]}
    if not found["decisions"]:
        console.print("Nothing was ever retracted.")
        return
    board = _table("Retractions", ("id", "what", "state", "reason", "by", "at"))
    lifted = {row["lifts"]: row for row in found["decisions"] if row["lifts"]}
    for row in found["decisions"]:
        if row["lifts"]:
            continue
        one = stands.get(row["retraction_id"])
        after = lifted.get(row["retraction_id"])
        state = "stands" if one else f"lifted {after['decided_at'][:10]}: {after['reason']}" if after else ""
        board.add_row(
            row["retraction_id"][:12],
            escape_terminal(row["title"], 60),
            escape_terminal(f"{state}, erased" if row["erase"] else state, 60),
            escape_terminal(row["reason"], 60),
            row["decided_by"],
            row["decided_at"],
        )
    console.print(board)


def _say(console: Console, line: str) -> None:
    console.print(escape_terminal(line), markup=False, soft_wrap=True)


def _table(title: str, columns: tuple[str, ...]) -> Table:
    board = Table(title=title, title_justify="left")
    for column in columns:
        board.add_column(column, justify="right" if column in ("instructions", "slots") else "left")
    return board

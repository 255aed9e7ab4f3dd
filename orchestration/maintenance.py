"""`sultana maintain`: versions of tables that nothing depends on are given up, and what that frees is told."""

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from orchestration.compaction import compact_table, is_fragmented
from orchestration.dead_runs import runs_in_progress
from orchestration.diagnosis.finding import mebibytes
from orchestration.instance import open_instance
from orchestration.left_over import left_over
from orchestration.references import referenced
from orchestration.registered import open_registry
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.files import exclusive_lock
from resources.table_cleanup import Plan, bytes_of, no_writer, plan, remove
from resources.tables import LanceTables
from resources.text import escape_terminal

if TYPE_CHECKING:
    from resources.tracking import Tracking

RETENTION = "SULTANA_RETENTION_DAYS"
"""The environment variable with the retention age of a whole deployment."""

DEFAULT_DAYS = 30.0
BY_COMMAND = "sultana maintain"
MOST_NAMED = 10


@dataclass(frozen=True)
class Maintenance:
    """What is maintained, and for whom: `run_id` is that of the Dagster run that asks, or empty."""

    instance: dg.DagsterInstance
    tables: LanceTables
    tracking: "Tracking"
    run_id: str = ""

    def refuse_runs(self) -> None:
        """Raises SultanaError where a run is in progress: it could read what would be removed."""
        if running := runs_in_progress(self.instance, self.run_id):
            raise SultanaError(
                f"{len(running)} runs are in progress, among them {running[0]}; they could read what would be removed",
                "Wait until they have ended, and run it again; --dry-run works meanwhile",
                code="runs-in-progress",
            )

    def plans(self, names: list[str], days: float) -> list[Plan]:
        """What becomes of each table, by what depends on its versions now."""
        since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
        held = referenced(self.instance, self.tables, self.tracking, since)
        return [plan(self.tables, name, held, since) for name in names if self.tables.head(name) is not None]


def retention_days(given: float | None) -> float:
    """The retention age in days: as given, else SULTANA_RETENTION_DAYS, else 30. Raises SultanaError for nonsense."""
    text = os.environ.get(RETENTION) or ""
    try:
        days = given if given is not None else float(text or DEFAULT_DAYS)
    except ValueError:
        days = -1.0
    if not 0 <= days <= 36_500:
        raise SultanaError(
            f"The retention age is {text if given is None else given!r}; expected days, from 0 to 36,500",
            f"Correct --older-than or {RETENTION}",
            code="setting-out-of-bounds",
        )
    return days


def maintain(
    *,
    older_than: float | None = None,
    dry_run: bool = False,
    compact: bool = False,
    run_id: str = "",
    tracking_uri: str = "",
) -> dict[str, Any]:
    """Give up every version of a table that nothing depends on and that is older than the retention age.

    As JSON values: for each table what was (with `dry_run`: would be) removed and freed, and why each other version
    stays; tables that were compacted (with `compact`); and what lies about in the data folder without being referred
    to, which is only told. Raises SultanaError, with nothing removed, where a run is in progress, a writer does not
    end, or what something depends on cannot be found out.
    """
    days, storage = retention_days(older_than), Storage()
    tables, tracking = storage.tables(), open_registry(tracking_uri)
    with open_instance(data_folder()) as instance:
        ours = Maintenance(instance, tables, tracking, run_id)
        if dry_run:
            plans = ours.plans(tables.commits.tables(), days)
            told = [_told(one, bytes_of(tables, one)) for one in plans]
        else:
            ours.refuse_runs()  # before anybody is kept from writing
            reason = f"nothing depended on it, and it was older than {days:g} days"
            with exclusive_lock(tables.root / ".locks" / ".maintenance.lock"), no_writer(tables) as names:
                # Asked with every writer locked out: a run that has written since then shows here, and one that
                # starts from now on reads the newest of each asset, which stays.
                ours.refuse_runs()
                plans = ours.plans(names, days)
                told = [_told(one, remove(tables, one, run_id or BY_COMMAND, reason)) for one in plans]
        fragmented = [one.table for one in plans if compact and is_fragmented(tables, one.table)]
        compacted = [compact_table(tables, one, run_id or BY_COMMAND, dry_run=dry_run) for one in fragmented]
        lying = left_over(instance, tracking, storage)
    return {
        "data_folder": str(data_folder()),
        "dry_run": dry_run,
        "older_than_days": days,
        "tables": told,
        "removed_versions": sum(len(one["removed"]) for one in told),
        "freed_bytes": sum(one["freed_bytes"] for one in told),
        "compacted": compacted,
        "left_over": lying,
    }


def show_maintenance(found: Mapping[str, Any], console: Console) -> None:
    """Prints what was freed by table, why versions stay, and what lies about."""
    would = "would be " if found["dry_run"] else ""
    board = Table(title=f"What {would or 'was '}removed", title_justify="left")
    for name in ("table", "versions removed", "freed", "versions kept", "why the most of them"):
        board.add_column(name, justify="left" if name in ("table", "why the most of them") else "right")
    for one in found["tables"]:
        whys = [version["why"] for version in one["kept"]]
        most = max(sorted(set(whys)), key=whys.count) if whys else ""
        board.add_row(
            one["table"],
            f"{len(one['removed']):,}",
            mebibytes(one["freed_bytes"]),
            f"{len(whys):,}",
            escape_terminal(most, 60),
        )
    console.print(board)
    for one in found["compacted"]:
        console.print(
            f"{one['table']} {would or 'was '}compacted: {one['files']:,} data files of version {one['from_version']}",
            markup=False,
        )
    for one in found["left_over"][:MOST_NAMED]:
        told = escape_terminal(f"{one['path']} ({mebibytes(one['bytes'])}): {one['what']}")
        console.print(f"Left over, and left alone: {told}", markup=False, soft_wrap=True)
    if len(found["left_over"]) > MOST_NAMED:
        console.print(f"… and {len(found['left_over']) - MOST_NAMED:,} more: --json shows all", markup=False)
    what = "would be removed" if found["dry_run"] else "removed"
    console.print(
        f"Versions older than {found['older_than_days']:g} days {what}: {found['removed_versions']:,}; "
        f"freed: {mebibytes(found['freed_bytes'])}",
        markup=False,
    )


def _told(planned: Plan, size: int) -> dict[str, Any]:
    return {
        "table": planned.table,
        "removed": [
            {
                "version": one.version,
                "rows": one.rows,
                "recorded_at": one.recorded_at,
                "made_by_run": one.run_id,
            }
            for one in planned.given_up
        ],
        "removed_unacknowledged": list(planned.leftovers),
        "freed_bytes": size,
        "kept": [{"version": version, "why": why} for version, why in sorted(planned.kept.items())],
    }

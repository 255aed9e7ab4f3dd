"""`sultana status`: what is materialized, how much, how old, and what has changed since."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from assets.materialized import Materialized
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.staleness import Newest, why_stale
from resources.definitions import data_folder


def age(seconds: float) -> str:
    """A length of time in the largest whole unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def read_status() -> dict[str, Any]:
    """The state of every asset, and of its partitions that were made and not deleted, in flow order, as JSON values.

    `state` is fresh, stale or not materialized; `why` says what has changed since. Times are seconds since 1970.
    """
    repository = defs.get_repository_def()
    graph = repository.asset_graph
    states: list[dict[str, Any]] = []
    with open_instance(data_folder()) as instance:
        newest = Newest(instance)
        for key in (key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)):
            name = key.to_user_string()
            found = newest.of(name, partitioned=graph.get(key).is_partitioned)
            states += [_state(made, why_stale(instance, repository, made, newest)) for made in found] or [
                {"asset": name, "partition": None, "state": "not materialized"}
            ]
    return {"data_folder": str(data_folder()), "assets": states}


def _state(made: Materialized, stale: str) -> dict[str, Any]:
    rows = made.metadata.get("dagster/row_count")
    return {
        "asset": made.asset,
        "partition": made.partition,
        "state": "stale" if stale else "fresh",
        "why": stale or None,
        "rows": None if rows is None else rows.value,
        "data_version": made.data_version,
        "made_at": made.timestamp,
        "run_id": made.run_id,
    }


def show_status(found: Mapping[str, Any], console: Console) -> None:
    """Prints a line per asset, and per partition where there are partitions."""
    board = Table()
    for column in ("asset", "partition", "rows", "age", "data version", "state"):
        board.add_column(column, justify="right" if column in ("rows", "age") else "left")
    for one in found["assets"]:
        if "made_at" not in one:
            board.add_row(one["asset"], "", "", "", "", one["state"])
            continue
        board.add_row(
            one["asset"],
            one["partition"] or "",
            "" if one["rows"] is None else f"{one['rows']:,}",
            age(time.time() - one["made_at"]),
            one["data_version"][:12],
            f"stale: {one['why']}" if one["why"] else one["state"],
        )
    console.print(f"Data folder: {found['data_folder']}", markup=False)
    console.print(board)

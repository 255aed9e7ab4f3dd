"""`sultana status`: what is materialized, how much, how old, and what has changed since."""

import time

from rich.console import Console
from rich.table import Table

from assets.materialized import materializations
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.staleness import why_stale
from resources.definitions import data_folder


def age(seconds: float) -> str:
    """A length of time in the largest whole unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def show_status(console: Console) -> None:
    """Prints a line per asset, and per partition where there are partitions."""
    repository = defs.get_repository_def()
    graph = repository.asset_graph
    board = Table()
    for column in ("asset", "partition", "rows", "age", "data version", "state"):
        board.add_column(column, justify="right" if column in ("rows", "age") else "left")
    with open_instance(data_folder()) as instance:
        for key in (key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)):
            node = graph.get(key)
            name = key.to_user_string()
            partitions = sorted(instance.get_materialized_partitions(key)) if node.is_partitioned else [None]
            found = [made for one in partitions for made in materializations(instance, name, one)]
            if not found:
                board.add_row(name, "", "", "", "", "not materialized")
            for made in found:
                stale = why_stale(instance, repository, made)
                rows = made.metadata.get("dagster/row_count")
                board.add_row(
                    name,
                    made.partition or "",
                    f"{rows.value:,}" if rows is not None else "",
                    age(time.time() - made.timestamp),
                    made.data_version[:12],
                    f"stale: {stale}" if stale else "fresh",
                )
    console.print(f"Data folder: {data_folder()}", markup=False)
    console.print(board)

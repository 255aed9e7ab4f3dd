"""`sultana export`: a curated set as a folder that is complete by itself.

Without a partition: the representatives of the newest `diversity_clusters`. With one: the rows of that
curriculum. What is read are the very table versions that these were made from.
"""

import functools
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console

from assets.lineage.exports.curated import Curated, Sources
from assets.lineage.exports.folder import Description, check_request, write_export
from assets.lineage.exports.layout import PARTS
from assets.lineage.manifest import walk
from assets.materialization import environment
from assets.materialized import Materialized, follow, materializations, record_at, require
from assets.partitions import FIRST_SEEDS, STRATEGIES, partition_key
from orchestration.console import drawn_progress
from orchestration.instance import open_instance
from resources.definitions import Storage, data_folder
from resources.embedder import EMBEDDED
from resources.errors import SultanaError
from resources.progress import track
from resources.text import escape_terminal

EMBEDDED_NAME = "all-MiniLM-L6-v2"
NOT_A_MEASURE = ("seconds", "peak_memory_mib", "lance_version")


def export(
    out: Path, data_format: str, strategy: str | None, seed: int | None, console: Console
) -> dict[str, Any]:
    """Writes `out` and says what is in it; returns the content of its export.json.

    Raises SultanaError where a choice is unknown, `out` holds something, or nothing has been made yet.
    """
    partition = _partition(strategy, seed)
    out = out.expanduser().resolve()
    check_request(out, data_format)
    with open_instance(data_folder()) as instance, drawn_progress(console):
        root = _root(instance, partition)
        clusters = follow(instance, root, "diversity_clusters") if partition else root
        curated = Curated(
            Storage().tables(),
            Sources(
                instructions=follow(instance, clusters, "instructions").table("instructions"),
                recipes=follow(instance, clusters, "interpolated_instructions").table(),
                clusters=clusters.table(),
                curriculum=root.table() if partition else None,
                curriculum_id=root.record["facts"]["curriculum_id"] if partition else None,
            ),
        )
        description = _describe(instance, root, clusters)
        rows = sum(curated.count(part) for part in PARTS)
        with track("writing", rows, "rows", console.print) as progress:
            about = write_export(out, curated, description, data_format, progress.advance)
    _show(out, about, console)
    return about


def _partition(strategy: str | None, seed: int | None) -> dg.MultiPartitionKey | None:
    if strategy is None and seed is None:
        return None
    if strategy is None or seed is None:
        what, offered = ("strategy", STRATEGIES) if strategy is None else ("seed", FIRST_SEEDS)
        raise SultanaError(
            f"A curriculum has a strategy and a seed, and no {what} is named",
            f"Add --{what}, such as {', '.join(offered)}",
            code="partition-unknown",
        )
    return partition_key(strategy, seed)


def _root(instance: dg.DagsterInstance, partition: dg.MultiPartitionKey | None) -> Materialized:
    """What selected the rows. Raises SultanaError where it has not been made."""
    if partition is None:
        return require(instance, "diversity_clusters")
    if found := materializations(instance, "curriculum", str(partition)):
        return found[0]
    strategy, seed = partition.keys_by_dimension["strategy"], partition.keys_by_dimension["seed"]
    made = sorted(instance.get_materialized_partitions(dg.AssetKey("curriculum")))
    others = f", or export one of those that have (seed|strategy): {', '.join(made)}" if made else ""
    raise SultanaError(
        f"The curriculum of strategy {strategy} with seed {seed} has not been materialized yet",
        f"Run: sultana run --strategy {strategy} --seed {seed} --to curriculum{others}",
        code="not-materialized",
    )


def _describe(instance: dg.DagsterInstance, root: Materialized, clusters: Materialized) -> Description:
    code = environment()
    return Description(
        kind="representatives" if root is clusters else "curriculum",
        chain=walk(root.pointer(), functools.partial(record_at, instance)),
        sultana={"version": version("sultana"), **{name: code[name] for name in ("git_commit", "git_dirty")}},
        diversity={
            name: value.value
            for name, value in clusters.metadata.items()
            if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
            and value.value is not None
            and math.isfinite(value.value)
            and name not in NOT_A_MEASURE
            and not name.startswith("dagster/")
        },
        names=_model_names(instance, root, clusters),
    )


def _model_names(instance: dg.DagsterInstance, root: Materialized, clusters: Materialized) -> dict[str, str]:
    """Names of the embedder and, where a checkpoint was trained on the curriculum, of the language model."""
    names = {}
    embeddings = follow(instance, clusters, "instruction_embeddings")
    if (embedder := embeddings.metadata.get("embedder")) is not None:
        names["embedder"] = EMBEDDED_NAME if embedder.value == EMBEDDED else str(embedder.value)
    if root.asset == "curriculum":
        for made in materializations(instance, "checkpoint", root.partition):
            if made.record["facts"]["language_model"] == root.record["settings"]["language_model"]:
                names["language_model"] = str(made.record["facts"]["language_model_name"])
    return names


def _show(out: Path, about: Mapping[str, Any], console: Console) -> None:
    rows = {part: one["rows"] for part, one in about["parts"].items()}
    call = (
        f"load_from_disk({str(out / 'originals')!r})"
        if about["data_format"] == "datasets"
        else f"load_dataset({str(out)!r}, 'originals', split='train')"
    )
    lines = [
        f"Exported to {out} as {about['data_format']}: originals {rows['originals']:,}, interpolated rows "
        f"(recipes, without text) {rows['interpolated']:,}, further parents of recipes {rows['parents']:,}",
        f"Load: datasets.{call}" if rows["originals"] else "There are no originals to load",
        f"Card: {out / 'README.md'}, which also says how to rebuild batches of mixed rows",
    ]
    console.print("\n".join(escape_terminal(line) for line in lines), markup=False, soft_wrap=True)

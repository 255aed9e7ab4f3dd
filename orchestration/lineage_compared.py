"""What changed between two checkpoints' lineages, read from Dagster's event log and the tables that it points to."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.lineage.difference.chains import SAME, Link, by_asset, compare_chains
from assets.lineage.difference.curricula import CurriculumDifference, same_curriculum
from assets.lineage.difference.tables import TableDifference, compare_tables, same_table
from assets.lineage.manifest import walk
from assets.materialized import Materialized, follow, record_at
from orchestration.chains import open_backward
from resources.table_refs import TableRef
from resources.tables import LanceTables


@dataclass(frozen=True)
class LineageComparison:
    """What is told, as JSON values, and what the rows that differ are read from."""

    told: dict[str, Any]
    sources: Sequence[TableDifference | CurriculumDifference]

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Every row that differs, with the columns of `tables.DIFFERING_ROW`."""
        for one in self.sources:
            yield from one.rows()


def compare_lineages(
    instance: dg.DagsterInstance, tables: LanceTables, ours: Materialized, theirs: Materialized
) -> LineageComparison:
    """The chains of two checkpoints, asset by asset, then table by table, then their curricula.

    A table whose content has one digest in both is not read. Raises SultanaError where a link is broken.
    """
    left, right = (walk(one.pointer(), functools.partial(record_at, instance)) for one in (ours, theirs))
    chain = compare_chains(left, right)
    links = by_asset(left), by_asset(right)
    compared = [
        compare_tables(tables, a, b) or same_table(a, b)
        for asset, link in links[0].items()
        if asset in links[1] and asset != "curriculum"
        for a, b in _pairs(link, links[1][asset])
    ]
    curricula = _curricula(instance, tables, ours, theirs)
    sources: list[TableDifference | CurriculumDifference] = [
        one for one in compared if isinstance(one, TableDifference)
    ]
    if curricula is not None:
        sources.append(curricula)
    told = {
        "base_model": _base_models(ours, theirs),
        "chain": chain,
        "identical": all(one["state"] == SAME for one in chain),
        "tables": [one.to_json() if isinstance(one, TableDifference) else one for one in compared],
        "curriculum": same_curriculum(ours.record["facts"]["curriculum_id"])
        if curricula is None
        else curricula.to_json(),
    }
    return LineageComparison(told, sources)


def _pairs(ours: Link, theirs: Link) -> list[tuple[TableRef, TableRef]]:
    """The tables of two links: by name, or one with one, where an embedder has its own."""
    left, right = (
        {name: TableRef.from_json(ref) for name, ref in one["tables"].items()} for one in (ours, theirs)
    )
    if len(left) == len(right) == 1:
        return [(next(iter(left.values())), next(iter(right.values())))]
    return [(left[name], right[name]) for name in sorted(left.keys() & right.keys())]


def _curricula(
    instance: dg.DagsterInstance, tables: LanceTables, ours: Materialized, theirs: Materialized
) -> CurriculumDifference | None:
    """None where both were trained on one curriculum."""
    if ours.record["facts"]["curriculum_id"] == theirs.record["facts"]["curriculum_id"]:
        return None
    left, right = (
        open_backward(instance, tables, follow(instance, one, "curriculum")) for one in (ours, theirs)
    )
    return CurriculumDifference(left, right)


def _base_models(ours: Materialized, theirs: Materialized) -> dict[str, Any]:
    a, b = (one.record["facts"] for one in (ours, theirs))
    return {
        "same": a["language_model"] == b["language_model"],
        "a": a["language_model_name"],
        "b": b["language_model_name"],
    }

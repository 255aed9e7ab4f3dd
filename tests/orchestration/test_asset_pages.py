"""What an asset's page shows before it was made holds what the data dictionary says."""

from pathlib import Path

import dagster as dg
import pytest

from assets.column_lineage import COLUMN_LINEAGE, TABLES
from orchestration.asset_pages import METHODS, PROJECT
from orchestration.definitions import defs

GRAPH = defs.resolve_asset_graph()
NAMES = sorted(key.to_user_string() for key in GRAPH.get_all_asset_keys())


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_asset_shows_its_columns(name: str) -> None:
    shown = GRAPH.get(dg.AssetKey(name)).metadata["dagster/column_schema"].value
    assert [column.name for column in shown.columns] == TABLES[name].schema.names  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(COLUMN_LINEAGE))
def test_column_lineage_names_columns_that_are_there(name: str) -> None:
    shown = GRAPH.get(dg.AssetKey(name)).metadata["dagster/column_lineage"]
    ancestors = {key.to_user_string() for key in dg.AssetSelection.assets(name).upstream().resolve(GRAPH)} - {
        name
    }
    assert set(shown.deps_by_column) <= set(TABLES[name].schema.names)  # type: ignore[union-attr]
    for sources in shown.deps_by_column.values():  # type: ignore[union-attr]
        assert sources
        for one in sources:
            parent = one.asset_key.to_user_string()
            assert parent in ancestors
            assert one.column_name in TABLES[parent].schema.names


def test_every_table_but_those_of_sources_and_decisions_has_column_lineage() -> None:
    assert set(TABLES) - set(COLUMN_LINEAGE) == {"raw_instructions", "benchmark_splits", "retractions"}


@pytest.mark.parametrize("name", NAMES)
def test_every_asset_leads_to_its_method(name: str) -> None:
    node = GRAPH.get(dg.AssetKey(name))
    assert f"`{METHODS[name]}`" in (node.description or "")
    references = node.metadata["dagster/code_references"].code_references  # type: ignore[attr-defined]
    assert {one.label for one in references} == {"method", *(["table"] if name in TABLES else [])}
    assert all(Path(one.file_path).is_file() for one in references)
    assert all(Path(one.file_path).is_relative_to(PROJECT) for one in references)


def test_groups_are_sorted_in_the_order_of_the_flow() -> None:
    """No asset reads one of a later group, by name: lists that are sorted by name follow the flow."""
    for name in NAMES:
        node = GRAPH.get(dg.AssetKey(name))
        for parent in node.parent_keys:
            assert GRAPH.get(parent).group_name <= node.group_name

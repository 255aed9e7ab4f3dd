"""Every fault of a table of clusters is counted."""

import pyarrow as pa
import pytest

from assets.diversity.clusters import cluster
from assets.diversity.merged import MergedRows
from assets.diversity.soundness import soundness
from assets.records import DIVERSITY_CLUSTERS


@pytest.fixture(scope="module")
def made(six_clusters: MergedRows) -> tuple[list[dict[str, object]], pa.Array, pa.Array]:
    ids = six_clusters.row_ids.to_pylist()
    instructions = pa.array([name for name in ids if not name.startswith("r")])
    recipes = pa.array([name for name in ids if name.startswith("r")])
    return cluster(six_clusters, clusters=6, representatives=0.3).to_pylist(), instructions, recipes


def counted(rows: list[dict[str, object]], made: tuple[object, pa.Array, pa.Array], minimum: float = 0.5):  # type: ignore[no-untyped-def]
    return soundness(pa.Table.from_pylist(rows, schema=DIVERSITY_CLUSTERS.schema), made[1], made[2], minimum)


def test_a_table_as_made_is_sound(made: tuple[list[dict[str, object]], pa.Array, pa.Array]) -> None:
    found = counted(made[0], made)
    assert found.holds and found.representatives == 270


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("missing", lambda rows: rows[:-1]),
        ("unknown", lambda rows: [*rows[:-1], rows[-1] | {"row_id": "nobody"}]),
        ("repeated", lambda rows: [*rows, rows[0]]),
        ("wrong_kind", lambda rows: [rows[0] | {"kind": "interpolated"}, *rows[1:]]),
        ("clusters_misranked", lambda rows: [rows[0] | {"rank": rows[0]["rank"] + 1}, *rows[1:]]),
        (
            "clusters_short_of_originals",
            lambda rows: [row | {"representative": row["kind"] == "interpolated"} for row in rows],
        ),
    ],
)
def test_each_fault_is_found(fault: str, change, made) -> None:  # type: ignore[no-untyped-def]
    found = counted(change(made[0]), made)
    assert getattr(found, fault) > 0 and not found.holds


def test_no_representative_is_a_fault_too(made: tuple[list[dict[str, object]], pa.Array, pa.Array]) -> None:
    found = counted([row | {"representative": False} for row in made[0]], made)
    assert not found.holds and found.representatives == 0
    assert not counted([], (None, pa.array([], pa.string()), pa.array([], pa.string()))).holds

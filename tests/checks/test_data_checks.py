"""Checks from sources to clusters: data that passes, and data for each way to fail."""

import dagster as dg
import pyarrow as pa
import pytest
from recorded import (
    FINGERPRINT,
    NAMES,
    SPLIT_SETTINGS,
    SPLITS,
    VECTORS,
    Recorded,
    clustered,
    dropped,
    example,
    instruction,
    kept,
    number,
    quarantined,
    raw,
    recipe,
    refused,
    vectors,
)

from assets.records import (
    BENCHMARK_SPLITS,
    DIVERSITY_CLUSTERS,
    DROPPED_INSTRUCTIONS,
    INSTRUCTIONS,
    INTERPOLATED_INSTRUCTIONS,
    QUARANTINE,
    RAW_INSTRUCTIONS,
)

RAW = [raw("1"), raw("2"), raw("3"), raw("4", "no response")]


def test_raw_rows_that_can_be_read_pass(recorded: Recorded) -> None:
    recorded.add("raw_instructions", {RAW_INSTRUCTIONS: RAW})
    found = recorded.check("raw_instructions")
    assert all(one.passed for one in found.values())
    readable = found["enough_rows_are_readable"]
    assert (number(readable, "share"), number(readable, "at_least")) == (0.75, 0.5)


def test_a_source_that_is_mostly_broken_fails(recorded: Recorded) -> None:
    recorded.add("raw_instructions", {RAW_INSTRUCTIONS: [raw("1"), raw("2", "odd"), raw("3", "odd")]})
    found = recorded.check("raw_instructions")["enough_rows_are_readable"]
    refused(found, "33.3% of the raw rows", "at least 50.0%", "minimum_readable_share", blocks=True)
    lower = recorded.check("raw_instructions", {"minimum_readable_share": 0.3})
    assert lower["enough_rows_are_readable"].passed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop_columns("task"), "column task is missing"),
        (lambda table: table.append_column("mood", pa.array(["good"] * 4)), "column mood is not declared"),
        (
            lambda table: table.set_column(
                5, pa.field("position", pa.int32(), nullable=False), table["position"].cast(pa.int32())
            ),
            "column position is int32, not int64",
        ),
        (
            lambda table: table.set_column(3, pa.field("file", pa.string()), table["file"]),
            "column file may be null",
        ),
    ],
)
def test_a_table_of_another_schema_fails(recorded: Recorded, change, said: str) -> None:  # type: ignore[no-untyped-def]
    empty = dict.fromkeys(RAW_INSTRUCTIONS.schema.names)
    table = pa.Table.from_pylist([{**empty, **row} for row in RAW], schema=RAW_INSTRUCTIONS.schema)
    recorded.add("raw_instructions", {RAW_INSTRUCTIONS: change(table)})
    found = recorded.check("raw_instructions")["schema_as_declared"]
    refused(found, said, "Materialize the asset again", blocks=True)
    assert number(found, "differences") == 1


def sorted_rows(
    recorded: Recorded, names: str, kept: str, gone: str, duplicates: str, contaminated: str = ""
) -> None:
    """Each letter is a raw row: kept (as one instruction each), quarantined, or dropped."""
    upstream = [recorded.add("raw_instructions", {RAW_INSTRUCTIONS: [raw(name) for name in names]})]
    recorded.add(
        "instructions", {INSTRUCTIONS: [instruction(f"i-{one}", one) for one in kept]}, upstream=upstream
    )
    recorded.add("quarantine", {QUARANTINE: [quarantined(one) for one in gone]}, upstream=upstream)
    rows = [dropped(one) for one in duplicates] + [dropped(one, "contaminated") for one in contaminated]
    recorded.add("dropped_instructions", {DROPPED_INSTRUCTIONS: rows}, upstream=upstream)


def every_check(
    recorded: Recorded, config: dict[str, float] | None = None
) -> dict[str, dg.AssetCheckEvaluation]:
    names = ("instructions", "quarantine", "dropped_instructions")
    return {f"{name} {check}": one for name in names for check, one in recorded.check(name, config).items()}


def test_rows_that_went_somewhere_pass(recorded: Recorded) -> None:
    sorted_rows(recorded, "abcdefghij", kept="abcdefg", gone="h", duplicates="i", contaminated="j")
    found = every_check(recorded)
    assert len(found) == 7 and all(one.passed for one in found.values())
    assert number(found["instructions rows_in_equal_rows_out"], "kept") == 7
    assert number(found["dropped_instructions duplicate_share"], "share") == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("names", "kept", "gone", "duplicates", "fault"),
    [
        ("abcd", "ab", "c", "", "raw_rows_lost"),
        ("abcd", "ab", "c", "dx", "rows_of_no_raw_row"),
        ("abcd", "ab", "c", "cd", "rows_miscounted"),
    ],
)
def test_rows_that_do_not_add_up_fail(
    recorded: Recorded, names: str, kept: str, gone: str, duplicates: str, fault: str
) -> None:
    sorted_rows(recorded, names, kept, gone, duplicates)
    found = recorded.check("instructions")["rows_in_equal_rows_out"]
    refused(found, "Found 1", "Materialize instructions again", blocks=True)
    assert number(found, fault) == 1


def test_shares_beyond_their_bounds_warn(recorded: Recorded) -> None:
    sorted_rows(recorded, "abcdefghij", kept="a", gone="bcd", duplicates="efgh", contaminated="ij")
    found = every_check(recorded, {"maximum_duplicate_share": 0.3})
    refused(found["quarantine quarantined_share"], "30.0%", "maximum_quarantined_share", blocks=False)
    refused(found["dropped_instructions duplicate_share"], "40.0%", "named twice", blocks=False)
    refused(found["dropped_instructions contaminated_share"], "20.0%", "benchmark itself", blocks=False)


def test_splits_that_do_not_meet_pass(recorded: Recorded) -> None:
    recorded.add("benchmark_splits", {BENCHMARK_SPLITS: SPLITS}, configuration=SPLIT_SETTINGS)
    assert all(one.passed for one in recorded.check("benchmark_splits").values())


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (SPLITS[:2], "empty_splits"),
        ([*SPLITS, {**SPLITS[0], "example_id": "t2", "split": "reward"}], "repeated_prompts"),
        (
            [*SPLITS, example("r2", "reward", f"Please answer. {SPLITS[0]['messages'][0]['content']}")],
            "examples_that_share_text_with_a_higher_split",
        ),
    ],
)
def test_splits_that_meet_fail(recorded: Recorded, rows: list[dict[str, object]], fault: str) -> None:
    recorded.add("benchmark_splits", {BENCHMARK_SPLITS: rows}, configuration=SPLIT_SETTINGS)
    found = recorded.check("benchmark_splits")["splits_are_disjoint"]
    refused(found, "Name sources", blocks=True)
    assert number(found, fault) == 1


def embedded(recorded: Recorded, rows: list[dict[str, object]]) -> None:
    metadata = {"dimension": 3}
    facts = {"embedder_fingerprint": FINGERPRINT}
    recorded.add(
        "instruction_embeddings", {VECTORS: rows}, upstream=[kept(recorded)], metadata=metadata, facts=facts
    )


def test_embeddings_pass_and_stay_where_they_were(recorded: Recorded) -> None:
    embedded(recorded, vectors())
    assert not number(recorded.check("instruction_embeddings")["embedding_drift"], "compared")
    embedded(recorded, vectors())
    found = recorded.check("instruction_embeddings")
    assert all(one.passed for one in found.values())
    assert number(found["embedding_drift"], "compared") and number(found["embedding_drift"], "drift") == 0


def test_embeddings_that_have_moved_warn(recorded: Recorded) -> None:
    embedded(recorded, vectors())
    embedded(recorded, vectors(apple=[0, 0, -1.0], berry=[0, 0, -1.0]))
    found = recorded.check("instruction_embeddings")["embedding_drift"]
    refused(found, "has moved by", "maximum_drift", blocks=False)
    # The sum of the four vectors has moved by (-1, -1, -2).
    assert number(found, "drift") == pytest.approx(6**0.5 / 4)
    assert recorded.check("instruction_embeddings", {"maximum_drift": 1.0})["embedding_drift"].passed


@pytest.mark.parametrize("vector", [[0.5, 0, 0], [float("nan"), 0, 0], [0, float("inf"), 0]])
def test_vectors_of_another_length_fail(recorded: Recorded, vector: list[float]) -> None:
    embedded(recorded, vectors(apple=vector))
    found = recorded.check("instruction_embeddings")
    refused(found["vectors_have_unit_length"], "differs from 1", "embedder", blocks=True)
    assert found["every_instruction_is_embedded"].passed


def test_instructions_without_a_vector_fail(recorded: Recorded) -> None:
    embedded(recorded, vectors()[1:])
    found = recorded.check("instruction_embeddings")["every_instruction_is_embedded"]
    refused(found, "1 missing vectors", blocks=True)


def recipes(recorded: Recorded, *rows: dict[str, object]) -> dict[str, dg.AssetCheckEvaluation]:
    tables = {INTERPOLATED_INSTRUCTIONS: rows}
    recorded.add("interpolated_instructions", tables, upstream=[kept(recorded)])
    return recorded.check("interpolated_instructions")


def test_recipes_pass(recorded: Recorded) -> None:
    found = recipes(recorded, recipe("m", "apple", "berry"), recipe("n", "date", "apple", 1.0))
    assert all(one.passed for one in found.values())
    assert recipes(recorded)["recipes_are_sound"].passed  # none were asked for


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (recipe("n", "apple", "nobody"), "unknown_parents"),
        (recipe("n", "apple", "apple"), "recipes_with_equal_parents"),
        (recipe("n", "apple", "date", 1.5), "weights_outside_0_to_1"),
        (recipe("n", "apple", "date", float("nan")), "weights_outside_0_to_1"),
    ],
)
def test_recipes_that_cannot_be_mixed_fail(recorded: Recorded, row: dict[str, object], fault: str) -> None:
    found = recipes(recorded, recipe("m", "apple", "berry"), row)["recipes_are_sound"]
    refused(found, "Materialize interpolated_instructions again", blocks=True)
    assert number(found, fault) == 1


def clusters(
    recorded: Recorded, rows: list[dict[str, object]], asked: int = 2
) -> dict[str, dg.AssetCheckEvaluation]:
    upstream = [
        kept(recorded),
        recorded.add(
            "interpolated_instructions", {INTERPOLATED_INSTRUCTIONS: [recipe("m", "apple", "berry")]}
        ),
    ]
    recorded.add(
        "diversity_clusters",
        {DIVERSITY_CLUSTERS: rows},
        upstream=upstream,
        configuration={"minimum_share_of_originals": 0.5},
        facts={"clusters": asked},
    )
    return recorded.check("diversity_clusters")


SPREAD = [clustered(name, place // 2, place % 2) for place, name in enumerate(NAMES)]
SPREAD.append(clustered("m", 1, 2, mixed=True))


def test_clusters_that_are_spread_out_pass(recorded: Recorded) -> None:
    found = clusters(recorded, SPREAD)
    assert len(found) == 4 and all(one.passed for one in found.values())
    assert number(found["clusters_have_not_collapsed"], "largest_share") == pytest.approx(0.6)
    assert number(found["share_of_mixes"], "share") == pytest.approx(0.2)


def test_clusters_that_are_not_of_these_rows_fail(recorded: Recorded) -> None:
    found = clusters(recorded, SPREAD[:-1])["clusters_are_sound"]
    refused(found, "1 missing", "Materialize diversity_clusters again", blocks=True)


def test_clusters_that_have_collapsed_fail(recorded: Recorded) -> None:
    one = [row | {"cluster": 0, "rank": rank} for rank, row in enumerate(SPREAD)]
    found = clusters(recorded, one)["clusters_have_not_collapsed"]
    refused(found, "100.0% of the rows", "fewer clusters", blocks=True)
    assert clusters(recorded, one, asked=1)["clusters_have_not_collapsed"].passed
    empty = clusters(recorded, SPREAD, asked=5)["clusters_have_not_collapsed"]
    refused(empty, "60.0% are empty", blocks=True)


def test_too_many_mixes_among_representatives_warn(recorded: Recorded) -> None:
    rows = [row | {"representative": row["kind"] == "interpolated"} for row in SPREAD]
    refused(clusters(recorded, rows)["share_of_mixes"], "100.0%", "count of interpolated", blocks=False)

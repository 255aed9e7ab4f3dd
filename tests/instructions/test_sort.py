"""Sorting the starter corpus: rows in are rows out, and planted faults are found without reading the marks."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from assets.identity import example_id
from assets.instructions.examples import read_examples
from assets.instructions.raw import SourceSpec, read_sources
from assets.instructions.retractions import Retraction, Standing
from assets.instructions.sort import Sorted, sort_rows
from assets.instructions.starter.corpus import write_starter
from resources.progress import Progress


def sort(
    raw: list[dict[str, Any]], examples: list[dict[str, Any]], retractions: Standing | None = None
) -> Sorted:
    return sort_rows(
        raw,
        examples,
        near_duplicate_threshold=0.8,
        contamination_ngram=8,
        contamination_threshold=0.7,
        seed=0,
        progress=Progress("sorting", None, "rows", print),
        retractions=retractions,
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    files = write_starter(tmp_path_factory.mktemp("starter"), seed=3, rows=1500)
    raw = list(read_sources([SourceSpec(path.stem, str(path)) for path in files.instructions]))
    examples = [
        {
            "messages": one.messages,
            "response": one.response,
            "example_id": example_id(split, one.messages, one.response),
        }
        for split, path in files.splits.items()
        for one in read_examples(SourceSpec(split, str(path)))
    ]
    marks = [json.loads(line) for line in files.marks.read_text().splitlines()]
    return raw, examples, marks, sort(raw, examples)


def test_every_row_is_in_exactly_one_place(corpus: Any) -> None:
    raw, _, _, found = corpus
    kept = [row["origins"][0]["origin_id"] for row in found.kept]
    others = [row["origin_id"] for row in [*found.quarantined, *found.dropped]]
    assert sorted(kept + others) == sorted(row["origin_id"] for row in raw)
    merged = [row for row in found.dropped if row["reason"] == "exact_duplicate"]
    origins = Counter(origin["origin_id"] for row in found.kept for origin in row["origins"])
    known = {row["instruction_id"] for row in found.kept}
    for row in merged:
        if row["instruction_id"] in known:
            assert origins[row["origin_id"]] == 1


@pytest.mark.parametrize("fault", ["exact_duplicate", "near_duplicate"])
def test_planted_twins_are_found(corpus: Any, fault: str) -> None:
    _, _, marks, found = corpus
    # Either twin may be the one that is kept.
    collided = {row[name] for row in found.dropped for name in ("instruction_id", "collides_with")}
    planted = [mark for mark in marks if mark["fault"] == fault]
    hit = [mark for mark in planted if mark["instruction_id"] in collided]
    assert planted and len(hit) >= 0.9 * len(planted)


def test_planted_test_rows_are_found(corpus: Any) -> None:
    _, _, marks, found = corpus
    contaminated = {row["instruction_id"] for row in found.dropped if row["reason"] == "contaminated"}
    planted = {mark["instruction_id"] for mark in marks if mark["fault"] == "contaminated"}
    assert planted and len(planted & contaminated) >= 0.9 * len(planted)
    assert len(contaminated - planted) <= 0.02 * 1500


def test_rows_that_cannot_be_used_are_quarantined(corpus: Any) -> None:
    _, _, marks, found = corpus
    other = {"exact_duplicate", "near_duplicate", "contaminated", "wrong_answer", "truncated", "off_topic"}
    planted = {(mark["file"], mark["position"]) for mark in marks if mark["fault"] not in other}
    assert planted
    assert {(Path(row["file"]).name, row["position"]) for row in found.quarantined} == {
        (Path(file).name, position) for file, position in planted
    }


def test_a_dropped_row_names_a_row_that_is_there(corpus: Any) -> None:
    _, examples, _, found = corpus
    known = {row["instruction_id"] for row in found.kept}
    benchmark = {one["example_id"] for one in examples}
    dropped = {row["instruction_id"] for row in found.dropped}
    for row in found.dropped:
        if row["reason"] == "contaminated":
            assert row["collides_with"] in benchmark
        elif row["reason"] == "near_duplicate":
            assert row["collides_with"] in known
        else:
            assert row["collides_with"] in known | dropped


def test_order_changes_nothing(corpus: Any) -> None:
    raw, examples, _, found = corpus
    again = sort(raw[::-1], examples[::-1])
    assert list(again.kept) == list(found.kept)
    assert list(again.quarantined) == list(found.quarantined)
    assert list(again.dropped) == list(found.dropped)
    assert (again.reasons, again.drops) == (found.reasons, found.drops)


def retraction(kind: Any, value: str | None = None, rows: tuple[str, ...] = ()) -> Retraction:
    return Retraction("r" * 32, kind, value, rows, None, "asked for", False, "somebody", "2026-01-01")


@pytest.mark.parametrize("kind", ["row", "source", "licence", "file"])
def test_retracted_rows_are_dropped_and_no_other(corpus: Any, kind: str) -> None:
    raw, examples, _, found = corpus
    kept = found.kept[0]
    origin = kept["origins"][0]
    rule = {
        "row": retraction("row", rows=(kept["instruction_id"],)),
        "source": retraction("source", origin["source"]),
        "licence": retraction("licence", "cc-by-4.0 "),
        "file": retraction("file", origin["file"], (kept["instruction_id"],)),
    }[kind]
    licensed = [{**row, "licence": "CC-BY-4.0" if row["position"] % 2 else "MIT"} for row in raw]
    left = sort(licensed, examples, Standing((rule,)))
    dropped = {row["origin_id"] for row in left.dropped if row["reason"] == "retracted"}
    expected = {
        row["origin_id"]
        for row in licensed
        if {
            "row": row["instruction_id"] == kept["instruction_id"],
            "source": row["source"] == origin["source"],
            "licence": row["licence"] == "CC-BY-4.0",
            "file": row["file"] == origin["file"] and row["instruction_id"] == kept["instruction_id"],
        }[kind]
    }
    assert dropped == expected and expected
    assert all(one["collides_with"] == "r" * 32 for one in left.dropped if one["reason"] == "retracted")
    assert not any(one["origin_id"] in dropped for row in left.kept for one in row["origins"])
    assert len(left.kept) + len(left.quarantined) + len(left.dropped) == len(raw)


def test_a_row_that_stands_elsewhere_too_stays_without_the_retracted_origin(corpus: Any) -> None:
    raw, examples, _, found = corpus
    twice = next(row for row in found.kept if len(row["origins"]) > 1)
    gone, *others = twice["origins"]
    left = sort(raw, examples, Standing((retraction("row", rows=(gone["origin_id"],)),)))
    (row,) = [one for one in left.kept if one["instruction_id"] == twice["instruction_id"]]
    assert row["origins"] == others
    all_of_it = sort(raw, examples, Standing((retraction("row", rows=(twice["instruction_id"],)),)))
    assert twice["instruction_id"] not in {one["instruction_id"] for one in all_of_it.kept}

"""Sources to rows of RAW_INSTRUCTIONS and to benchmark examples."""

import gzip
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from assets.identity import instruction_id
from assets.instructions.examples import ExampleProblem, read_examples
from assets.instructions.raw import (
    RawRow,
    ReadCounts,
    SourceSpec,
    read_source,
    read_sources,
    read_sources_in_batches,
    source_fingerprint,
)
from assets.records import RAW_INSTRUCTIONS
from resources.errors import SultanaError


def _jsonl(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(row if isinstance(row, bytes) else orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "rows"
    _jsonl(root / "a.jsonl", {"prompt": "a", "completion": "b", "task": "t", "licence": "MIT"}, b"broken\n")
    _jsonl(root / "b.jsonl", *[{"prompt": f"a{n}", "completion": "b"} for n in range(5)])
    return root


def test_rows_say_where_they_come_from(folder: Path) -> None:
    rows = list(read_source(SourceSpec("mine", str(folder), licence="CC0-1.0", task="other")))
    assert [(row["file"], row["position"]) for row in rows[:3]] == [
        ("a.jsonl", 1),
        ("a.jsonl", 2),
        ("b.jsonl", 1),
    ]
    assert [row["licence"] for row in rows[:3]] == ["MIT", "CC0-1.0", "CC0-1.0"]
    assert [row["task"] for row in rows[:3]] == ["t", "other", "other"]
    assert rows[0]["instruction_id"] == instruction_id(rows[0]["messages"])
    assert rows[1]["problem"] == "not_json" and rows[1]["raw_text"] == "broken"
    assert {row["source"] for row in rows} == {"mine"}
    assert rows == list(read_source(SourceSpec("mine", str(folder), licence="CC0-1.0", task="other")))


def test_batches_and_counts(folder: Path) -> None:
    counts = ReadCounts()
    told: list[tuple[str, str, int]] = []
    specs = [SourceSpec("mine", str(folder)), SourceSpec("again", str(folder))]
    batches = list(
        read_sources_in_batches(
            specs, batch_rows=3, counts=counts, on_progress=lambda *call: told.append(call)
        )
    )
    table = pa.Table.from_batches(batches)
    assert table.schema == RAW_INSTRUCTIONS.schema
    table.validate(full=True)
    assert [batch.num_rows for batch in batches] == [3, 3, 3, 3, 2]
    assert (counts.rows, counts.readable, counts.problems) == (14, 12, {"not_json": 2})
    assert [(one.source, one.file, one.rows) for one in counts.files][:2] == [
        ("mine", "a.jsonl", 2),
        ("mine", "b.jsonl", 5),
    ]
    assert told[-1] == ("again", "b.jsonl", 5)
    # The second source holds the same files, and every row still has an id of its own.
    assert len(set(table["origin_id"].to_pylist())) == 14


def test_a_broken_file_stops_the_load_or_is_recorded(folder: Path) -> None:
    whole = gzip.compress(b'{"prompt": "a", "completion": "b"}\n' * 50)
    (folder / "aa.jsonl.gz").write_bytes(whole[:-9])
    spec = SourceSpec("mine", str(folder))
    with pytest.raises(SultanaError, match=r"aa\.jsonl\.gz is a damaged gzip .* \(source 'mine'\)"):
        list(read_sources([spec]))
    counts = ReadCounts()
    rows: list[RawRow] = list(read_sources([spec], on_bad_file="quarantine", counts=counts))
    bad = [row for row in rows if row["problem"] == "unreadable_file"]
    assert [(row["file"], row["position"]) for row in bad] == [("aa.jsonl.gz", 0)]
    assert "damaged gzip" in bad[0]["problem_detail"] and bad[0]["raw_text"]
    assert counts.rows == len(rows) == 8 and counts.readable == 6


def test_a_file_without_rows_is_an_error_unless_allowed(folder: Path) -> None:
    (folder / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(SultanaError, match=r"empty\.jsonl .* has no rows"):
        list(read_source(SourceSpec("mine", str(folder))))
    assert len(list(read_source(SourceSpec("mine", str(folder), allow_empty=True)))) == 7


def test_a_file_that_changes_while_it_is_read_is_an_error(folder: Path) -> None:
    rows = read_source(SourceSpec("mine", str(folder / "b.jsonl")))
    next(rows)
    _jsonl(folder / "b.jsonl", {"prompt": "other", "completion": "b"})
    with pytest.raises(SultanaError, match="changed while it was read"):
        list(rows)


def test_fingerprint_changes_with_content_and_settings(folder: Path) -> None:
    spec = SourceSpec("mine", str(folder))
    first = source_fingerprint([spec])
    assert first == source_fingerprint([spec])
    assert [one["name"] for one in first[0]["files"]] == ["a.jsonl", "b.jsonl"]
    assert first != source_fingerprint([SourceSpec("mine", str(folder), shape="alpaca")])
    _jsonl(folder / "b.jsonl", {"prompt": "other", "completion": "b"})
    assert first != source_fingerprint([spec])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "a b"}, "not a legal name"),
        ({"name": "../x"}, "not a legal name"),
        ({"uri": " "}, "no address"),
        ({"format": "xlsx"}, "not a format"),
        ({"shape": "vicuna"}, "not a shape"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SultanaError, match=said):
        SourceSpec(**{"name": "mine", "uri": "x.jsonl", **settings})  # type: ignore[arg-type]


def test_two_sources_need_two_names(folder: Path) -> None:
    spec = SourceSpec("mine", str(folder))
    with pytest.raises(SultanaError, match="Two sources"):
        list(read_sources([spec, spec]))


def test_examples(tmp_path: Path) -> None:
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user", "assistant")]
    path = _jsonl(
        tmp_path / "bench.jsonl",
        {"question": "How many? ", "answer": "9*2 = $<<9*2=18>>18.\n#### 1,018"},
        {"messages": turns, "task": "chat"},
        {"prompt": "a", "completion": ""},
        {"prompt": "a << b >> c", "completion": "x << 1 >> y"},
    )
    spec = SourceSpec("bench", str(path))
    with pytest.raises(SultanaError, match="Row 3 .*empty_response"):
        list(read_examples(spec))
    problems: list[ExampleProblem] = []
    first, second, third = read_examples(spec, on_problem=problems.append)
    assert (first.messages, first.response) == (
        [{"role": "user", "content": "How many?"}],
        "9*2 = $18.\n#### 1,018",
    )
    assert (first.answer, first.task, first.source, first.file, first.position) == (
        "1018", "bench", "bench", "bench.jsonl", 1,
    )  # fmt: skip
    assert [turn["role"] for turn in second.messages] == ["system", "user", "assistant", "user"]
    assert (second.response, second.answer, second.task) == ("assistant", None, "chat")
    assert third.response == "x << 1 >> y"
    assert [(one.position, one.reason) for one in problems] == [(3, "empty_response")]


def test_real_instructions(shared_data: Path) -> None:
    """Of published sets only rows without a response are refused."""
    from assets.instructions.validate import normalise, problem_in

    counts = ReadCounts()
    refused: dict[str, int] = {}
    for row in read_sources([SourceSpec("real", str(shared_data / "instructions"))], counts=counts):
        if row["messages"] and (problem := problem_in(normalise(row["messages"]))):
            refused[problem[0]] = refused.get(problem[0], 0) + 1
    assert counts.rows == counts.readable + counts.problems.total() > 80_000
    assert set(counts.problems) <= {"missing_field"} and set(refused) <= {"empty_response"}
    assert refused["empty_response"] < counts.rows / 1000


def test_real_benchmark(shared_data: Path) -> None:
    examples = list(
        read_examples(SourceSpec("gsm8k", str(shared_data / "benchmarks" / "gsm8k_test.jsonl.gz")))
    )
    assert len(examples) == 1319
    assert all(one.answer and "<<" not in one.response for one in examples)

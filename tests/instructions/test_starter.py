"""The starter corpus: the same bytes for a seed, answers that verify, faults that are where the marks say."""

import csv
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from assets.identity import example_id, instruction_id
from assets.instructions.raw import read_source
from assets.instructions.specs import SourceSpec
from assets.instructions.starter.corpus import StarterFiles, starter_paths, write_starter
from assets.instructions.starter.faults import FAULTS, SHARES, fault_counts, similarity
from assets.instructions.starter.rows import LICENCE, Check, verify
from assets.instructions.starter.tasks import TASKS
from assets.records import SPLITS
from resources.errors import SultanaError

ROWS = 4800
UNREADABLE = ("empty_response", "control_token", "broken_json", "invalid_utf8", "duplicate_key")
Messages = list[dict[str, str]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> StarterFiles:
    return write_starter(tmp_path_factory.mktemp("starter"))


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]


def conversation(value: dict[str, Any]) -> Messages:
    if "messages" in value:
        return [{"role": turn["role"], "content": turn["content"]} for turn in value["messages"]]
    if "conversations" in value:
        roles = {"human": "user", "gpt": "assistant", "system": "system"}
        return [{"role": roles[turn["from"]], "content": turn["value"]} for turn in value["conversations"]]
    prompt = value.get("prompt") or value["instruction"] + (f"\n\n{value['input']}" if value["input"] else "")
    response = value["completion"] if "completion" in value else value["output"]
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def conversations(files: StarterFiles) -> dict[tuple[str, int], Messages | None]:
    """Every row of the instruction files by file and row number; None where it is no JSON."""
    found: dict[tuple[str, int], Messages | None] = {}
    for path in files.instructions:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as stream:
                values: list[Any] = list(csv.DictReader(stream))
        elif path.suffix == ".json":
            values = json.loads(path.read_bytes())
        else:
            values = path.read_bytes().split(b"\n")[:-1]
        for row, value in enumerate(values, 1):
            try:
                found[path.name, row] = conversation(json.loads(value) if isinstance(value, bytes) else value)
            except ValueError:
                found[path.name, row] = None
    return found


def split_rows(files: StarterFiles) -> dict[str, list[dict[str, Any]]]:
    return {name: json_lines(path) for name, path in files.splits.items()}


def prompt_of(value: dict[str, Any]) -> str:
    return conversation(value)[0]["content"]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = write_starter(tmp_path / "a", seed=3, rows=300)
    again = write_starter(tmp_path / "b", seed=3, rows=300)
    other = write_starter(tmp_path / "c", seed=4, rows=300)
    relative = sorted(
        path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*") if path.is_file()
    )
    assert len(relative) == 4 + 3 + 2
    for path in relative:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert first.marks.read_bytes() != other.marks.read_bytes()
    assert starter_paths(tmp_path / "b") == again


def test_counts_tasks_and_licence(files: StarterFiles) -> None:
    rows = conversations(files)
    assert len(rows) == ROWS
    assert [path.name for path in files.instructions] == [
        "alpaca.jsonl",
        "messages.jsonl",
        "sharegpt.json",
        "prompts.csv",
    ]
    tasks = Counter(check["task"] for check in json_lines(files.checks))
    assert set(tasks) == set(TASKS)
    assert len(TASKS) >= 24
    assert len({task.family for task in TASKS.values()}) >= 10
    assert min(tasks.values()) > 0.5 * max(tasks.values())
    assert sum(len(row) > 3 for row in rows.values() if row) > 200  # several turns
    assert {value["licence"] for value in json.loads(files.instructions[2].read_bytes())} == {LICENCE}
    assert {name: len(split) for name, split in split_rows(files).items()} == {
        "reward": 240, "early_stopping": 240, "test": 480,
    }  # fmt: skip
    assert set(files.splits) == set(SPLITS)


def test_right_rows_verify_and_wrong_ones_do_not(files: StarterFiles) -> None:
    rows = conversations(files)
    seen = Counter[tuple[bool, bool]]()
    for record in json_lines(files.checks):
        messages = rows[record["file"], record["row"]]
        assert messages is not None
        checks = [Check(**check) for check in record["checks"]]
        right = verify(checks, [turn["content"] for turn in messages], TASKS)
        assert right == (record["fault"] not in ("wrong_answer", "truncated", "off_topic")), (
            record,
            messages,
        )
        seen[right, record["fault"] is None] += 1
    assert seen[False, True] == 0
    assert seen[True, True] > 0.85 * ROWS


def test_a_multi_turn_row_is_checked_in_every_answered_turn(files: StarterFiles) -> None:
    record = next(record for record in json_lines(files.checks) if len(record["checks"]) == 2)
    messages = conversations(files)[record["file"], record["row"]]
    assert messages is not None
    contents = [turn["content"] for turn in messages]
    contents[1] = "I do not know."
    assert not verify([Check(**check) for check in record["checks"]], contents, TASKS)


def test_benchmark_responses_end_with_their_answers(files: StarterFiles) -> None:
    for rows in split_rows(files).values():
        for row in rows:
            assert list(row) == ["task", "instruction", "input", "output", "answer"]
            assert (row["answer"] is None) == TASKS[row["task"]].open_ended
            assert row["output"].endswith(row["answer"] or "")
        assert {row["task"] for row in rows} == set(TASKS)


def test_splits_share_no_prompt_with_each_other_or_with_training(files: StarterFiles) -> None:
    splits = split_rows(files)
    prompts = [prompt_of(row).lower() for rows in splits.values() for row in rows]
    assert len(set(prompts)) == len(prompts)
    planted = {(mark["file"], mark["row"]) for mark in json_lines(files.marks)}
    training = [
        turn["content"].lower()
        for place, row in conversations(files).items()
        if row and place not in planted
        for turn in row
        if turn["role"] == "user"
    ]
    assert not set(prompts) & set(training)


def test_training_rows_share_no_parameters(files: StarterFiles) -> None:
    keys = [
        Check(**check).key()
        for record in json_lines(files.checks)
        if record["fault"] not in ("exact_duplicate", "near_duplicate", "contaminated")
        for check in {json.dumps(check["facts"]): check for check in record["checks"]}.values()
    ]
    assert len(set(keys)) == len(keys)


def test_marks_point_at_their_rows(files: StarterFiles) -> None:
    rows = conversations(files)
    test_rows = split_rows(files)["test"]
    lines = {path.name: path.read_bytes().split(b"\n") for path in files.instructions}
    alike = []
    for mark in json_lines(files.marks):
        row, collision = rows[mark["file"], mark["row"]], mark["collides_with"]
        if mark["fault"] in UNREADABLE:
            assert mark["instruction_id"] is None
            continue
        assert row is not None and instruction_id(row) == mark["instruction_id"]
        if not mark["file"].endswith(".json"):
            first_words = row[0]["content"].split("\n")[0].split('"')[0][:12].encode()
            assert first_words in lines[mark["file"]][mark["position"] - 1]
        if mark["fault"] == "exact_duplicate":
            assert collision["instruction_id"] == mark["instruction_id"]
        if mark["fault"] in ("exact_duplicate", "near_duplicate"):
            twin = rows[collision["file"], collision["row"]]
            assert twin is not None and instruction_id(twin) == collision["instruction_id"]
            texts = ["\n".join(turn["content"] for turn in one) for one in (row, twin)]
            assert similarity(*texts) == pytest.approx(mark["similarity"], abs=1e-3)
        if mark["fault"] == "near_duplicate":
            assert collision["instruction_id"] != mark["instruction_id"]
            alike.append(mark["similarity"])
        if mark["fault"] == "contaminated":
            value = test_rows[collision["line"] - 1]
            prompt = [{"role": "user", "content": prompt_of(value)}]
            assert collision["example_id"] == example_id("test", prompt, value["output"])
            assert row[-1]["content"] == value["output"]
    assert sum(index >= 0.8 for index in alike) >= 0.85 * len(alike)


def test_marks_count_as_the_reader_does(files: StarterFiles) -> None:
    marked = {(mark["file"], mark["position"]): mark for mark in json_lines(files.marks)}
    for path in files.instructions:
        spec = SourceSpec(name=path.stem, uri=str(path), licence=files.licence)
        for row in read_source(spec):
            mark = marked.get((path.name, row["position"]))
            if mark and mark["instruction_id"]:
                assert row["instruction_id"] == mark["instruction_id"]
            if row["problem"]:
                assert mark and mark["fault"] in UNREADABLE
            assert row["licence"] == LICENCE


def test_unreadable_rows_show_their_fault(files: StarterFiles) -> None:
    rows = conversations(files)
    lines = {path.name: path.read_bytes().split(b"\n") for path in files.instructions}
    for mark in json_lines(files.marks):
        line, row = lines[mark["file"]][mark["row"] - 1], rows[mark["file"], mark["row"]]
        match mark["fault"]:
            case "broken_json" | "invalid_utf8":
                with pytest.raises(ValueError):
                    json.loads(line)
            case "duplicate_key":
                assert line.count(b'"task": ') == 2
            case "empty_response":
                assert row and not row[-1]["content"].strip()
            case "control_token":
                assert row and any("<|" in turn["content"] for turn in row)


@pytest.mark.parametrize("rows", [300, ROWS])
def test_shares_of_faults(rows: int, files: StarterFiles, tmp_path: Path) -> None:
    made = files if rows == ROWS else write_starter(tmp_path, rows=rows)
    found = Counter(mark["fault"] for mark in json_lines(made.marks))
    assert found == fault_counts(rows, SHARES)
    assert set(SHARES) == set(FAULTS)
    assert 0.10 <= found.total() / rows <= 0.14


def test_no_faults_where_none_are_asked_for(tmp_path: Path) -> None:
    made = write_starter(tmp_path, rows=300, shares={})
    assert made.marks.read_bytes() == b""
    assert len(json_lines(made.checks)) == 300


@pytest.mark.parametrize(
    "arguments", [{"rows": 10}, {"rows": 10**6}, {"shares": {"typo": 0.1}}, {"shares": {"truncated": 0.9}}]
)
def test_settings_out_of_bounds_are_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SultanaError):
        write_starter(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_generation_is_quick(tmp_path: Path) -> None:
    start = time.process_time()
    write_starter(tmp_path, seed=1)
    assert time.process_time() - start < 20  # about 1.2 s on an idle core

"""The assets: benchmarks beside the split, answers stored, reward questions not asked, bad settings early."""

import json
import os
from pathlib import Path
from typing import Any

import benchmark_files as files
import dagster as dg
import pytest
import yaml
from rich.console import Console

from assets.materialized import materializations
from assets.records import EVALUATION_ANSWERS, EVALUATIONS
from orchestration.instance import open_instance
from orchestration.run import Request, run_request
from resources.definitions import Storage
from resources.errors import SultanaError

SHORT = {"loss_examples": 4, "accuracy_examples": 2, "maximum_new_tokens": 2, "maximum_length": 128}


def run(folder: Path, to: str, **settings: Any) -> None:
    file = folder / "settings.yaml"
    splits = {
        split: [{"name": split, "path": str(folder / f"{split}.jsonl")}]
        for split in ("reward", "early_stopping", "test")
    }
    ops = {
        "benchmark_splits": {"config": splits},
        "baseline_evaluation": {"config": {**SHORT, **settings}},
    }
    file.write_text(yaml.safe_dump({"ops": ops}))
    with open(os.devnull, "w") as sink:
        run_request(Request(preset="smoke", config=file, to=to), Console(file=sink))


@pytest.fixture
def folder(data: Path) -> Path:
    """A data folder whose reward split holds one of ARC's questions."""
    asked = files.ARC[0]["question"] + " An ice cube, the Sun or a cup of tea: name the one."
    rows = {
        "reward": [
            {"instruction": asked, "output": "the Sun"},
            {"instruction": "Say how many legs a spider has, please, in one word.", "output": "eight"},
        ],
        "early_stopping": [
            {"instruction": f"Write the number {number} in words.", "output": "some words"}
            for number in range(60, 64)
        ],
        "test": [
            {
                "instruction": f"How much is {number} and one? Answer briefly.",
                "output": f"{number + 1}",
                "answer": f"{number + 1}",
            }
            for number in range(30, 40)
        ],
    }
    for name, found in rows.items():
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return data


def test_benchmarks_stand_beside_the_split(folder: Path) -> None:
    path = files.written(folder, "arc", [*files.ARC, {**files.ARC[1], "question": "What do roots take up?"}])
    run(folder, "baseline_evaluation", benchmarks=[{"task": "arc_challenge", "path": path}])
    with open_instance(folder) as instance:
        made = materializations(instance, "baseline_evaluation")[0]
    tables = Storage(folder=str(folder)).tables()
    rows = tables.read(made.table(EVALUATIONS.table)).to_pylist()
    assert {(row["split"], row["metric"]) for row in rows} == {
        ("test", "loss"),
        ("test", "accuracy"),
        ("benchmark", "acc"),
        ("benchmark", "acc_norm"),
    }
    by_metric = {row["metric"]: row for row in rows}
    assert by_metric["acc"]["examples"] == 2 and by_metric["acc"]["standard_error"] is not None
    assert by_metric["loss"]["standard_error"] > 0
    assert all(row["value_without_overlap"] == pytest.approx(row["value"]) for row in rows)

    answers = tables.read(made.table(EVALUATION_ANSWERS.table)).to_pylist()
    assert {row["scoring_id"] for row in answers} == {made.record["facts"]["scoring_id"]}
    asked = [row for row in answers if row["benchmark"] == "arc_challenge"]
    assert {row["expected"] for row in asked} == {"sunlight"}
    assert {row["overlap"] for row in answers} == {0}

    left_out = made.record["facts"]["benchmark_questions_left_out"]["arc_challenge"]
    assert list(left_out.values()) == ["shares text with a reward row"]
    assert made.record["facts"]["chat_template_applied"] is True
    for name in (
        "benchmarks",
        "benchmark_answers",
        "benchmark_questions_left_out",
        "test_answers",
        "test_scores",
    ):
        assert isinstance(made.metadata[name], dg.TableMetadataValue), name
    shown = made.metadata["benchmark_answers"].records  # type: ignore[union-attr]
    assert set(shown[0].data) == {"task", "right", "prompt", "expected", "got"}


def test_bad_benchmarks_fail_before_the_model_is_loaded(folder: Path) -> None:
    path = files.written(folder, "humaneval", files.HUMANEVAL)
    with pytest.raises(SultanaError, match="execute_generated_code is off"):
        run(folder, "baseline_evaluation", benchmarks=[{"task": "humaneval", "path": path}])
    with pytest.raises(SultanaError, match="reward"):
        run(folder, "baseline_evaluation", split="reward")

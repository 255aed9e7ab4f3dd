"""What MLflow is told of a checkpoint of a real run, and what its evaluation says of rows that it was trained on."""

import json
import os
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from assets.finetuning.weights import load_weights
from assets.materialized import Materialized, require
from assets.records import EVALUATION_ANSWERS
from orchestration.instance import open_instance
from orchestration.run import Request, run_request
from resources.definitions import Storage
from resources.language_model import LanguageModel
from resources.tracking import Tracking
from tests.resources.tiny_base import logits

PARTITION = "0|random"


@pytest.fixture
def tracking(registered_data: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    monkeypatch.setenv("SULTANA_DATA", str(registered_data))
    return Tracking(None, registered_data / "mlflow")


def made(data: Path, asset: str) -> Materialized:
    with open_instance(data) as instance:
        return require(instance, asset, PARTITION)


def test_the_run_tells_the_training(registered_data: Path, tracking: Tracking) -> None:
    run_id = str(tracking.versions("sultana")[0].run_id)
    with tracking.client() as client:
        run = client.get_run(run_id)
        experiment = client.get_experiment(run.info.experiment_id)
        histories = {
            name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        }
        plots = {one.path for one in client.list_artifacts(run_id, "plots")}
        scores = client.load_table(experiment.experiment_id, "evaluation/test_scores.json", [run_id])
        answers = client.load_table(experiment.experiment_id, "evaluation/test_answers.json", [run_id])
    assert experiment.name == "sultana" and run.info.status == "FINISHED"
    assert {
        "strategy",
        "seed",
        "base_model_fingerprint",
        "curriculum_id",
        "training.method",
        "save_every",
    } <= set(run.data.params)
    for name in ("loss", "learning_rate", "tokens_per_second", "gradient_norm"):
        assert [step for step, _ in histories[name]] == [0, 1], name
    for name in ("early_stopping_loss", "reward_loss"):  # before the first step and after the last
        assert [step for step, _ in histories[name]] == [0, 2], name
    assert plots == {
        f"plots/{name}.png" for name in ("loss", "learning_rate", "tokens_per_second", "gradient_norm")
    }

    inputs = {one.dataset.name: json.loads(one.dataset.source) for one in run.inputs.dataset_inputs}
    assert set(inputs) == {"curriculum", "instructions", "interpolated_instructions", "benchmark_splits"}
    with open_instance(registered_data) as instance:
        ref = require(instance, "curriculum", PARTITION).table()
    assert (inputs["curriculum"]["version"], inputs["curriculum"]["digest"]) == (ref.version, ref.digest)

    rows = made(registered_data, "evaluation").record["facts"]["rows"]
    assert scores["value"].tolist() == pytest.approx([row["value"] for row in rows])
    assert {"standard error", "share seen in training"} <= set(scores.columns)
    assert {"prompt", "expected", "got", "right"} <= set(answers.columns) and len(answers)
    for row in rows:
        name = f"test_{row['metric']}.{row['task']}"
        assert run.data.metrics[name] == pytest.approx(row["value"])


def test_both_uis_show_the_same_names(registered_data: Path, tracking: Tracking) -> None:
    checkpoint, evaluation = made(registered_data, "checkpoint"), made(registered_data, "evaluation")
    with tracking.client() as client:
        run = client.get_run(checkpoint.record["facts"]["mlflow_run_id"])
    assert run.info.run_name == f"checkpoint {PARTITION}" == f"{checkpoint.asset} {checkpoint.partition}"
    assert run.data.tags["dagster.run_id"] == checkpoint.record["made_by_run"]
    for name in ("final_training_loss", "trained_tokens", "mean_tokens_per_second", "weights_of_step"):
        assert run.data.metrics[name] == pytest.approx(checkpoint.metadata[name].value, rel=1e-5), name
    for name in ("test_loss", "test_accuracy"):
        assert run.data.metrics[name] == pytest.approx(evaluation.metadata[name].value, rel=1e-5), name
    for name in ("test_scores", "test_answers"):
        assert (
            name in evaluation.metadata
            and f"evaluation/{name}.json" in run.data.tags["mlflow.loggedArtifacts"]
        )
    settings = checkpoint.record["configuration"]
    for name in ("processes", "sharding", "save_every", "early_stopping_every"):
        assert str(settings[name]) == run.data.params[name].strip('"'), name
    for name, value in settings["training"].items():
        assert run.data.params[f"training.{name}"] == (value if isinstance(value, str) else json.dumps(value))


def test_mlflow_loads_the_checkpoint_as_it_was_evaluated(
    registered_data: Path, tracking: Tracking, tmp_path: Path
) -> None:
    import mlflow

    loaded = mlflow.transformers.load_model("models:/sultana@candidate", return_type="components")
    files = tracking.download("sultana", 1, tmp_path / "model")
    base = LanguageModel(folder=registered_data / "models")
    ours, tokenizer = load_weights(base.load(), files)
    assert loaded["model"].dtype == ours.dtype
    difference = (logits(loaded["model"]) - logits(ours)).abs().max() / logits(ours).abs().max()
    assert difference < (1e-5 if base.resolved_dtype() == "float32" else 0.05)
    assert loaded["tokenizer"].chat_template == tokenizer.chat_template
    model = mlflow.models.get_model_info("models:/sultana/1")
    assert model.signature is not None and model.saved_input_example_info is not None


@pytest.fixture
def seen_question(registered_data: Path, tmp_path: Path) -> str:
    """A benchmark of two questions, of which one is an instruction that the checkpoint was trained on."""
    tables = Storage(folder=str(registered_data)).tables()
    with open_instance(registered_data) as instance:
        ledger = tables.read(require(instance, "curriculum", PARTITION).table()).to_pylist()
        source = require(instance, "instructions")
    trained = {row["row_id"] for row in ledger if row["kind"] == "original"}
    conversation = max(
        (
            row["messages"]
            for row in tables.read(source.table("instructions")).to_pylist()
            if row["instruction_id"] in trained
        ),
        key=lambda turns: len(turns[0]["content"].split()),
    )
    questions = {
        conversation[0]["content"]: [conversation[-1]["content"], "something else"],
        "Which of these three objects would you call the hottest of all?": ["an ice cube", "the Sun"],
    }
    file = tmp_path / "arc.jsonl"
    rows = [
        {"id": text, "question": text, "choices": {"text": choices, "label": ["A", "B"]}, "answerKey": "A"}
        for text, choices in questions.items()
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def ranked(tmp_path: Path, benchmarks: list[dict[str, str]]) -> str:
    """What `sultana run --to leaderboard` prints."""
    file = tmp_path / "settings.yaml"
    scored = {"config": {"benchmarks": benchmarks}}
    file.write_text(yaml.safe_dump({"ops": {"evaluation": scored, "baseline_evaluation": scored}}))
    request = Request(preset="smoke", config=file, strategies=("random",), seeds=(0,), to="leaderboard")
    with open(os.devnull, "w") as sink:
        console = Console(file=sink, record=True, width=200)
        run_request(request, console)
        return console.export_text()


@pytest.mark.slow
def test_questions_seen_in_training_are_told_beside_the_score(
    registered_data: Path, tracking: Tracking, seen_question: str, tmp_path: Path
) -> None:
    before = made(registered_data, "evaluation")
    told = ranked(tmp_path, [{"task": "arc_challenge", "path": seen_question}])
    try:
        board = told[told.index("Benchmarks, with standard errors") : told.index("Registered models")]
        assert board.count("arc_challenge") == 2 and "base" in board and "random" in board
        found = made(registered_data, "evaluation")
        rows = [row for row in found.record["facts"]["rows"] if row["task"] == "arc_challenge"]
        assert {row["metric"] for row in rows} == {"acc", "acc_norm"}
        assert all((row["examples"], row["overlapping"]) == (2, 1) for row in rows)
        tables = Storage(folder=str(registered_data)).tables()
        answers = [
            row
            for row in tables.read(found.table(EVALUATION_ANSWERS.table)).to_pylist()
            if row["benchmark"] == "arc_challenge"
            and row["scoring_id"] == found.record["facts"]["scoring_id"]
        ]
        assert sorted(row["overlap"] >= 0.7 for row in answers) == [False, True]
        (clean,) = (row for row in answers if not row["overlap"])
        marks = {one["name"]: one["value"] for one in clean["scores"]}
        for row in rows:
            assert row["value_without_overlap"] == marks[row["metric"]]
        with tracking.client() as client:
            metrics = client.get_run(str(tracking.versions("sultana")[0].run_id)).data.metrics
        assert metrics["benchmark_acc_norm.arc_challenge"] == next(
            row["value"] for row in rows if row["metric"] == "acc_norm"
        )
    finally:
        told = ranked(tmp_path, [])
    assert "Benchmarks" not in told and "sultana version 1" in told
    assert made(registered_data, "evaluation").data_version == before.data_version

"""The door of the stage `evaluation`: scores of the base model and of checkpoints."""

import functools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from assets.evaluation.benchmarks.overlap import matching_reward, trained_on
from assets.evaluation.benchmarks.plan import Asked, read_benchmarks
from assets.evaluation.config import EvaluationConfig
from assets.evaluation.leaderboard import BASE
from assets.evaluation.scores import Scored, as_question, benchmark_rows, mlflow_metrics, split_rows
from assets.evaluation.shown import mlflow_tables, shown_scores
from assets.finetuning.rows import read_recipes
from assets.identity import rows_digest
from assets.materialization import OWNER, Stage, begin
from assets.materialized import follow
from assets.partitions import EXPERIMENTS, strategy_and_seed
from assets.records import EVALUATION_ANSWERS, EVALUATIONS
from assets.retries import tried_again
from resources.definitions import ComputeSetting, LanguageModelSetting, ModelRegistry, Storage
from resources.errors import SultanaError
from resources.text import id_filter

if TYPE_CHECKING:
    from assets.evaluation.loaded import LoadedModel

CODE_VERSION = "3"


@dataclass(frozen=True)
class _Found:
    """Rows of EVALUATIONS and EVALUATION_ANSWERS, what is shown of them, and facts for the record."""

    rows: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    shown: dict[str, Any]
    facts: dict[str, Any]


def _read_benchmarks(config: EvaluationConfig, storage: Storage) -> list[Asked]:
    """The benchmarks asked for, read and checked before any model is loaded."""
    return read_benchmarks(
        [one.spec() for one in config.benchmarks],
        execute_generated_code=config.execute_generated_code,
        downloads=storage.path("tmp", "benchmarks"),
    )


def _without_reward(
    stage: Stage, config: EvaluationConfig, asked: list[Asked], rows: list[dict[str, Any]]
) -> list[Asked]:
    """The benchmarks without questions that share text with a reward row: selection may have seen those."""
    reward = [row for row in rows if row["split"] == "reward"]
    kept = []
    for one in asked:
        matching = matching_reward(
            one.questions, reward, n=config.contamination_ngram, threshold=config.contamination_threshold
        )
        if matching:
            stage.context.log.info(f"{one.benchmark}: {len(matching)} questions match reward rows, left out")
        kept.append(one.without(matching, "shares text with a reward row"))
    return kept


def _trained_conversations(stage: Stage) -> list[list[dict[str, str]]]:
    """What the checkpoint was trained on: its ledger's rows, of interpolated ones both parents."""
    instance = stage.context.instance
    curriculum = follow(instance, stage.upstream["checkpoint"], "curriculum")
    clusters = follow(instance, curriculum, "diversity_clusters")
    identity = curriculum.record["facts"]["curriculum_id"]
    ledger = stage.tables.read(
        curriculum.table(), columns=["row_id"], filter=id_filter("curriculum_id", [identity])
    )
    recipes = read_recipes(stage.tables, follow(instance, clusters, "interpolated_instructions").table())
    ids: set[str] = set()
    for row_id in ledger["row_id"].to_pylist():
        recipe = recipes.get(row_id)
        ids |= {row_id} if recipe is None else {recipe.parent_a, recipe.parent_b}
    instructions = stage.tables.read(
        follow(instance, clusters, "instructions").table(), columns=["instruction_id", "messages"]
    )
    return [row["messages"] for row in instructions.to_pylist() if row["instruction_id"] in ids]


def _score(
    stage: Stage,
    config: EvaluationConfig,
    model: "LoadedModel",
    scored: Scored,
    asked: list[Asked],
    trained: list[list[dict[str, str]]],
) -> _Found:
    """Scores a loaded model on the split and on the benchmarks; `trained` is what it was trained on."""
    from assets.evaluation.benchmarks.score import run_benchmarks
    from assets.evaluation.harness import exact_match
    from assets.evaluation.losses import response_losses
    from assets.finetuning.examples import encode_examples

    splits = stage.upstream["benchmark_splits"].table()
    rows = stage.tables.read(splits).to_pylist()
    asked = _without_reward(stage, config, asked, rows)
    split = str(config.split.value)
    settings = {"tokenizer": model.tokenizer, "maximum_length": config.maximum_length}
    choose = functools.partial(encode_examples, stage.tables, splits, split, **settings)
    measured = choose(most=config.loss_examples)
    with stage.progress("loss", len(measured.examples), "examples") as progress:
        loss = response_losses(
            model, measured.examples, batch_tokens=config.batch_tokens, on_examples=progress.advance
        )
    answered = choose(most=config.accuracy_examples, answered=True)
    with stage.progress("answers", len(answered.examples), "examples") as progress:
        accuracy = exact_match(
            model,
            answered.examples,
            maximum_new_tokens=config.maximum_new_tokens,
            batch_tokens=config.batch_tokens,
            on_examples=progress.advance,
        )
    overlaps = functools.partial(
        trained_on,
        conversations=trained,
        n=config.contamination_ngram,
        threshold=config.contamination_threshold,
    )
    questions = {row["example_id"]: as_question(row) for row in rows if row["split"] == split}
    made, answers = split_rows(
        scored, split, measured.examples, loss, answered.examples, accuracy, questions, overlaps
    )
    template = config.apply_chat_template
    template = bool(model.tokenizer.chat_template) if template is None else template
    if asked:
        scores, given = run_benchmarks(
            model,
            asked,
            apply_chat_template=template,
            batch_tokens=config.batch_tokens,
            track=stage.progress,
        )
        more, further = benchmark_rows(
            scored, scores, given, [one for each in asked for one in each.questions], overlaps
        )
        made, answers = made + more, answers + further

    return _Found(
        made,
        answers,
        {
            f"{split}_loss": loss.mean,
            f"{split}_accuracy": accuracy.mean,
            "refused_examples": len(measured.refused),
            "chat_template_applied": template,
            **shown_scores(made, split, answers, asked),
        },
        {
            "loss": loss.mean,
            "accuracy": accuracy.mean,
            "scoring_id": scored.scoring_id,
            "chat_template_applied": template,
            "benchmark_questions_left_out": {one.benchmark: one.left_out for one in asked},
        },
    )


def _recorded(stage: Stage, found: _Found, facts: dict[str, Any]) -> dg.MaterializeResult:
    content = rows_digest(found.rows)
    refs = [
        # The tables hold every evaluation; this one made these rows.
        replace(
            stage.write(
                record,
                pa.Table.from_pylist(rows, schema=record.schema),
                mode="upsert",
                content=content,
            ),
            rows=len(rows),
        )
        for record, rows in ((EVALUATIONS, found.rows), (EVALUATION_ANSWERS, found.answers))
    ]
    return stage.result(
        refs,
        found.shown,
        content=content,
        facts={"rows": found.rows, **found.facts, **facts},
    )


@dg.asset(
    deps=["benchmark_splits"],
    group_name="8_evaluation",
    owners=[OWNER],
    kinds={"pytorch"},
    code_version=CODE_VERSION,
    pool="device",
)
@tried_again
def baseline_evaluation(
    context: dg.AssetExecutionContext,
    config: EvaluationConfig,
    storage: Storage,
    compute: ComputeSetting,
    language_model: LanguageModelSetting,
) -> dg.MaterializeResult:
    """Held-out loss, exact-match accuracy and benchmark scores of the base model, per task."""
    asked = _read_benchmarks(config, storage)
    model = language_model.open(storage)
    fingerprint = model.fingerprint()
    stage = begin(
        context,
        storage,
        config,
        asset="baseline_evaluation",
        code_version=CODE_VERSION,
        reads=["benchmark_splits"],
        settings={"language_model": fingerprint, "benchmarks": [one.fingerprint for one in asked]},
    )
    if again := stage.previous(["baseline_evaluation"]):
        return again[0]
    scored = Scored(fingerprint, stage.inputs_digest, model.name, BASE, 0)
    from assets.evaluation.loaded import loaded

    with loaded(model, compute.open()) as at_work:
        found = _score(stage, config, at_work, scored, asked, [])
    return _recorded(stage, found, {"model": model.name})


@dg.asset(
    deps=["checkpoint", "benchmark_splits"],
    partitions_def=EXPERIMENTS,
    group_name="8_evaluation",
    owners=[OWNER],
    kinds={"pytorch", "mlflow"},
    code_version=CODE_VERSION,
    pool="device",
)
@tried_again
def evaluation(
    context: dg.AssetExecutionContext,
    config: EvaluationConfig,
    storage: Storage,
    compute: ComputeSetting,
    language_model: LanguageModelSetting,
    registry: ModelRegistry,
) -> dg.MaterializeResult:
    """Held-out loss, exact match and benchmarks of the registered checkpoint, per task, its files verified."""
    asked = _read_benchmarks(config, storage)
    strategy, seed = strategy_and_seed(context)
    model = language_model.open(storage)
    stage = begin(
        context,
        storage,
        config,
        asset="evaluation",
        code_version=CODE_VERSION,
        reads=["benchmark_splits"],
        reads_partition=["checkpoint"],
        settings={
            "language_model": model.fingerprint(),
            "benchmarks": [one.fingerprint for one in asked],
        },
    )
    if again := stage.previous(["evaluation"]):
        return again[0]
    made = stage.upstream["checkpoint"].record["facts"]
    if made["language_model"] != model.fingerprint():
        raise SultanaError(
            f"{made['model']} version {made['version']} was trained from another base model",
            "Evaluate with the language model that it was trained with, or train it again",
            code="base-model-differs",
        )
    from assets.evaluation.loaded import loaded
    from assets.finetuning.tuned_model import TunedModel

    tracking = stage.registry(registry)
    scored = Scored(
        made["checkpoint_id"],
        stage.inputs_digest,
        f"{made['model']} version {made['version']}",
        strategy,
        seed,
    )
    with tempfile.TemporaryDirectory(prefix="evaluation-", dir=storage.path("tmp")) as temporary:
        folder = tracking.download(made["model"], made["version"], Path(temporary) / "model")
        with loaded(TunedModel(model, folder), compute.open()) as at_work:
            found = _score(stage, config, at_work, scored, asked, _trained_conversations(stage))
    tracking.log_evaluation(
        made["mlflow_run_id"],
        mlflow_metrics(found.rows, found.facts, config.split.value),
        mlflow_tables(found.rows, found.answers, config.split.value),
    )
    return _recorded(stage, found, {"model": made["model"], "version": made["version"]})

"""What a report of a registered version rests on, gathered from its lineage, evaluations and MLflow run."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.evaluation.config import LeaderboardConfig
from assets.evaluation.leaderboard import BASE
from assets.evaluation.leaderboard_assets import read_answers
from assets.evaluation.paired import BenchmarkStanding, benchmark_standings, marks_of
from assets.evaluation.shown import quoted_metrics, sample_answers
from assets.lineage.exports.model_folder import kind_of
from assets.lineage.report.facts import ReportFacts, SampleAnswer
from assets.lineage.report.figures import CURVES
from assets.materialized import Materialized, follow
from assets.partitions import method_of
from assets.records import PROMOTIONS
from assets.selection.reading import read_tasks
from assets.selection.strategies import REGISTRY
from orchestration.evaluated import alike_evaluation, evaluation_of, leaderboard_with
from orchestration.model_export import describe
from orchestration.registered import Registered
from orchestration.retraction_models import held_by_version, in_words
from resources.definitions import Storage
from resources.model_flavor import BaseModel
from resources.tables import LanceTables
from resources.text import id_filter, sql_quote
from resources.tracking import Tracking

PICTURES = ("reward_curves", "score_and_gain", "lengths_over_steps", "difficulty_over_steps")
"""Plots of a curriculum that only its own run could draw: they are taken from its metadata."""

_PICTURE = re.compile(r"!\[(.*)\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)")


def gather(
    instance: dg.DagsterInstance,
    storage: Storage,
    tracking: Tracking,
    model: Registered,
    checkpoint: Materialized,
    files: Path,
    base: BaseModel,
) -> ReportFacts:
    """The facts; `files` are the version's verified files. Raises SultanaError where the lineage has a gap."""
    tables = storage.tables()
    about = describe(instance, storage, model, checkpoint, base, kind_of(files, merge=False))
    curriculum = follow(instance, checkpoint, "curriculum")
    clusters = follow(instance, curriculum, "diversity_clusters")
    mine = id_filter("curriculum_id", [curriculum.record["facts"]["curriculum_id"]])
    ledger = tables.read(curriculum.table(), filter=mine)
    tasks = read_tasks(
        tables,
        follow(instance, clusters, "instructions").table("instructions"),
        follow(instance, clusters, "interpolated_instructions").table(),
        set(ledger["row_id"].to_pylist()),
    )
    evaluated = evaluation_of(instance, model) if about["evaluation"]["rows"] else None
    baseline = (
        alike_evaluation(instance, None, model, evaluated)
        if evaluated and about["evaluation"]["base_rows"]
        else None
    )
    board = leaderboard_with(instance, evaluated) if evaluated else None
    return ReportFacts(
        about=about,
        aliases=model.aliases,
        trained_at=checkpoint.timestamp,
        strategy_title=REGISTRY[method_of(about["training"]["strategy"])].title,
        split=evaluated.record["configuration"]["split"] if evaluated else None,
        ledger=ledger,
        tasks={row: max(parts, key=lambda part: part[1])[0] for row, parts in tasks.items()},
        curves=tracking.metric_history(model.run_id, CURVES),
        pictures=dict(
            (found[1], found[2])
            for name in PICTURES
            if (text := curriculum.metadata.get(name)) and (found := _PICTURE.fullmatch(str(text.value)))
        ),
        standings=_standings(tables, evaluated, baseline),
        leaderboard=board.record["facts"] if board else None,
        answers=_answers(tables, evaluated, baseline),
        decision=_decision(tables, model),
        retracted=in_words(model.title, held) if (held := held_by_version(instance, tables, model)) else None,
    )


def _standings(
    tables: LanceTables, evaluated: Materialized | None, baseline: Materialized | None
) -> list[BenchmarkStanding]:
    """This version, and the base model where it was scored alike, question by question."""
    config = LeaderboardConfig()
    marks = {}
    for made in (evaluated, baseline):
        if made is not None:
            row = made.record["facts"]["rows"][0]
            answers = read_answers(tables, made, ["benchmark", "question_id", "scores"])
            marks[row["strategy"], row["seed"]] = marks_of(answers, quoted_metrics([row["split"]]))
    return benchmark_standings(marks, BASE, samples=config.bootstrap_samples, seed=config.bootstrap_seed)


def _answers(
    tables: LanceTables, evaluated: Materialized | None, baseline: Materialized | None
) -> list[SampleAnswer]:
    """A right and a wrong answer of each task, with the base model's to the same question."""
    if evaluated is None:
        return []
    given = read_answers(tables, evaluated)
    base = {
        (one["benchmark"], one["question_id"]): one["got"]
        for one in (read_answers(tables, baseline) if baseline else [])
    }
    metrics = quoted_metrics([evaluated.record["configuration"]["split"]])
    return [
        SampleAnswer(
            benchmark=name,
            task=one["task"],
            prompt=one["prompt"],
            expected=one["expected"],
            answer=one["got"],
            right=one["right"],
            base_answer=base.get((name, one["question_id"])),
        )
        for name in sorted({one["benchmark"] for one in given})
        for one in sample_answers(
            [one for one in given if one["benchmark"] == name], metrics[name][-1], each=1
        )
    ]


def _decision(tables: LanceTables, model: Registered) -> Mapping[str, Any] | None:
    """The newest decision that made this version the champion."""
    ref = tables.head(PROMOTIONS.table)
    if ref is None:
        return None
    rows = tables.read(
        ref, filter=f"model = {sql_quote(model.name)} AND version = {model.version} AND action = 'promote'"
    ).to_pylist()
    if not rows:
        return None
    row = max(rows, key=lambda one: one["sequence"])
    return {
        **row,
        "rule": json.loads(row["rule"]),
        "evidence": json.loads(row["evidence"]),
        "decided_at": row["decided_at"].strftime("%d %B %Y, %H:%M UTC"),
    }

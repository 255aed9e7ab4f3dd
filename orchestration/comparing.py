"""`sultana compare`: what changed between two registered versions, down to rows, and what they score."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg

from assets.evaluation.config import LeaderboardConfig
from assets.evaluation.leaderboard_assets import read_answers
from assets.evaluation.paired import LOWER_IS_BETTER, Marks, marks_of, paired_bootstrap
from assets.evaluation.shown import quoted_metrics
from assets.lineage.audit.rows_file import checked_rows_file, write_rows_file
from assets.lineage.difference.associations import NOTE, beside_shares
from assets.lineage.difference.chains import flat
from assets.lineage.difference.differing import DIFFERING_ROW
from assets.materialized import Materialized, follow
from orchestration.evaluated import alike_evaluation, evaluation_of
from orchestration.instance import open_instance
from orchestration.lineage_compared import compare_lineages
from orchestration.registered import Registered, checkpoint_of, find_registered, open_registry
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.tables import LanceTables


def compare_versions(
    ours: str, theirs: str, tracking_uri: str = "", rows_file: Path | None = None
) -> dict[str, Any]:
    """Two versions A and B compared, as JSON values.

    `lineage` holds what changed in the two chains, tables and curricula (`compare_lineages`); `scores` a row a
    benchmark and metric, with the difference A − B over the questions that both answered and the ends of its 95 %
    interval; `tasks` both values of every task; `associations` the paired difference of every task beside the
    change in share of its rows; `settings` what differs. Where the two were not evaluated alike, `not_scored` says
    why and there are no scores. Every row that differs is also written to `rows_file`, where one is named.

    Raises SultanaError where a version is not there, a link is broken, or `rows_file` cannot be written.
    """
    if rows_file is not None:
        rows_file = checked_rows_file(rows_file)
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    left, right = find_registered(tracking, ours), find_registered(tracking, theirs)
    with open_instance(data_folder()) as instance:
        lineage = compare_lineages(
            instance, tables, checkpoint_of(instance, left), checkpoint_of(instance, right)
        )
        told = {
            "a": _named(left),
            "b": _named(right),
            "lineage": lineage.told,
            **_scored(instance, tables, left, right, lineage.told["curriculum"]),
            "settings": list(_differing(_settings(instance, left), _settings(instance, right))),
        }
    if rows_file is not None:
        written = write_rows_file(rows_file, DIFFERING_ROW, lineage.rows())
        told["rows_file"] = {"file": str(rows_file), "rows": written}
    return told


def _scored(
    instance: dg.DagsterInstance,
    tables: LanceTables,
    left: Registered,
    right: Registered,
    curriculum: Mapping[str, Any],
) -> dict[str, Any]:
    """Scores, by benchmark and by task, and what changed with them; empty where they cannot be compared."""
    try:
        mine = evaluation_of(instance, left)
        other = alike_evaluation(instance, right, left, mine)
    except SultanaError as problem:
        return {
            "not_scored": str(problem),
            "scores": [],
            "tasks": [],
            "associations": {"note": NOTE, "scores": []},
        }
    metrics = quoted_metrics([mine.record["configuration"]["split"]])
    columns = ["benchmark", "task", "question_id", "scores"]
    ours, theirs = (read_answers(tables, one, columns) for one in (mine, other))
    by_task = _by_task(ours, metrics), _by_task(theirs, metrics)
    rows = [
        {"task": task, **row}
        for task in sorted(by_task[0].keys() & by_task[1].keys())
        for row in _scores(by_task[0][task], by_task[1][task])
    ]
    return {
        "not_scored": None,
        "scores": list(_scores(marks_of(ours, metrics), marks_of(theirs, metrics))),
        "tasks": list(_tasks(mine, other)),
        "associations": {"note": NOTE, "scores": beside_shares(rows, curriculum)},
    }


def _by_task(answers: Sequence[Mapping[str, Any]], metrics: Mapping[str, Sequence[str]]) -> dict[str, Marks]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for answer in answers:
        found[answer["task"]].append(answer)
    return {task: marks_of(those, metrics) for task, those in found.items()}


def _named(model: Registered) -> dict[str, Any]:
    return {
        "model": model.name,
        "version": model.version,
        "aliases": list(model.aliases),
        "mlflow_run_id": model.run_id,
    }


def _scores(left: Marks, right: Marks) -> Iterator[dict[str, Any]]:
    config = LeaderboardConfig()
    for key in sorted(left.keys() & right.keys()):
        difference = paired_bootstrap(
            left[key], right[key], samples=config.bootstrap_samples, seed=config.bootstrap_seed
        )
        yield {
            "benchmark": key[0],
            "metric": key[1],
            "lower_is_better": key[1] in LOWER_IS_BETTER,
            **{
                name: sum(values.values()) / len(values)
                for name, values in (("a", left[key]), ("b", right[key]))
            },
            "difference": asdict(difference) if difference else None,
        }


def _tasks(mine: Materialized, other: Materialized) -> Iterator[dict[str, Any]]:
    theirs = {_key(row): row["value"] for row in other.record["facts"]["rows"]}
    for row in sorted(mine.record["facts"]["rows"], key=_key):
        yield {
            **{name: row[name] for name in ("split", "task", "metric", "examples")},
            "a": row["value"],
            "b": theirs.get(_key(row)),
        }


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["split"], row["task"], row["metric"]


def _settings(instance: dg.DagsterInstance, model: Registered) -> dict[str, Any]:
    """Settings of a checkpoint and its curriculum by name, with the data versions that they were made from."""
    checkpoint = checkpoint_of(instance, model)
    curriculum = follow(instance, checkpoint, "curriculum")
    found: dict[str, Any] = {}
    for made in (curriculum, checkpoint):
        found |= flat(made.record["configuration"], made.asset)
        found |= flat(made.record["settings"], made.asset)
        found[f"{made.asset}.code_version"] = made.record["code_version"]
        for name, pointer in made.record["upstream"].items():
            found[f"{made.asset} ← {name}"] = pointer["data_version"]
    return found


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield {"setting": name, "a": ours.get(name), "b": theirs.get(name)}  # null: has no such setting

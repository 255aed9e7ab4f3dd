"""`sultana compare`: the scores of two registered versions side by side, and the settings that differ."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from assets.evaluation.config import LeaderboardConfig
from assets.evaluation.leaderboard_assets import read_answers
from assets.evaluation.paired import LOWER_IS_BETTER, marks_of, paired_bootstrap
from assets.evaluation.shown import quoted_metrics
from assets.materialized import Materialized, follow
from orchestration.evaluated import alike_evaluation, evaluation_of
from orchestration.instance import open_instance
from orchestration.registered import Registered, checkpoint_of, find_registered, open_registry
from resources.definitions import Storage, data_folder
from resources.tables import LanceTables
from resources.text import escape_terminal


def compare_versions(ours: str, theirs: str, tracking_uri: str = "") -> dict[str, Any]:
    """Two versions A and B compared, as JSON values.

    `scores` holds a row a benchmark and metric, with the difference A − B over the questions that both answered
    and the ends of its 95 % interval; `tasks` both values of every task; `settings` what differs. Raises
    SultanaError where a version is not there, or the two were not evaluated alike.
    """
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    left, right = find_registered(tracking, ours), find_registered(tracking, theirs)
    with open_instance(data_folder()) as instance:
        mine = evaluation_of(instance, left)
        other = alike_evaluation(instance, right, left, mine)
        return {
            "a": _named(left),
            "b": _named(right),
            "scores": list(_scores(tables, mine, other)),
            "tasks": list(_tasks(mine, other)),
            "settings": list(_differing(_settings(instance, left), _settings(instance, right))),
        }


def _named(model: Registered) -> dict[str, Any]:
    return {
        "model": model.name,
        "version": model.version,
        "aliases": list(model.aliases),
        "mlflow_run_id": model.run_id,
    }


def _scores(tables: LanceTables, mine: Materialized, other: Materialized) -> Iterator[dict[str, Any]]:
    config = LeaderboardConfig()
    metrics = quoted_metrics([mine.record["configuration"]["split"]])
    columns = ["benchmark", "question_id", "scores"]
    left, right = (marks_of(read_answers(tables, one, columns), metrics) for one in (mine, other))
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
        found |= _flat(made.record["configuration"], made.asset)
        found |= _flat(made.record["settings"], made.asset)
        found[f"{made.asset}.code_version"] = made.record["code_version"]
        for name, pointer in made.record["upstream"].items():
            found[f"{made.asset} ← {name}"] = pointer["data_version"]
    return found


def _flat(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= (
            _flat(value, f"{prefix}.{name}") if isinstance(value, Mapping) else {f"{prefix}.{name}": value}
        )
    return found


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield {"setting": name, "a": ours.get(name), "b": theirs.get(name)}  # null: has no such setting


def show_comparison(found: Mapping[str, Any], console: Console) -> None:
    """Prints the comparison as three tables."""
    titles = [f"{one['model']} version {one['version']}" for one in (found["a"], found["b"])]
    console.print(f"A: {titles[0]}    B: {titles[1]}", markup=False)
    scores = _table("Question by question", ("benchmark", "metric"), ("A", "B", "A − B [95 %]", "questions"))
    for row in found["scores"]:
        one = row["difference"]
        scores.add_row(
            row["benchmark"],
            f"{row['metric']} ({'lower' if row['lower_is_better'] else 'higher'} is better)",
            f"{row['a']:.4f}",
            f"{row['b']:.4f}",
            f"{one['mean']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]" if one else "",
            f"{one['questions']:,}" if one else "",
        )
    tasks = _table("Task by task", ("split", "task", "metric"), ("examples", "A", "B"))
    for row in found["tasks"]:
        other = "" if row["b"] is None else f"{row['b']:.4f}"
        tasks.add_row(
            row["split"],
            escape_terminal(row["task"], 60),
            row["metric"],
            str(row["examples"]),
            f"{row['a']:.4f}",
            other,
        )
    settings = _table("Settings and inputs that differ", ("setting", "A", "B"), ())
    for row in found["settings"]:
        settings.add_row(
            row["setting"],
            *("–" if row[name] is None else escape_terminal(str(row[name]), 80) for name in ("a", "b")),
        )
    console.print(scores, tasks, *([settings] if found["settings"] else ["No setting differs."]))


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    board = Table(title=title, title_justify="left")
    for column in left:
        board.add_column(column)
    for column in right:
        board.add_column(column, justify="right")
    return board

"""The real pipeline from a source file to its sorted rows, in a Dagster instance of its own, and what must be there.

The source is made here, of rows of which it is known what becomes of each.
"""

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from rich.console import Console

from assets.instructions.starter_files import starter_files
from assets.materialized import Materialized, every_materialization, materializations
from orchestration.instance import open_instance, prepare_instance
from orchestration.run import Request, run_request
from resources.definitions import Storage
from resources.table_refs import TableRef
from resources.tables import LanceTables

ASSETS = ("raw_instructions", "instructions", "quarantine", "dropped_instructions", "benchmark_splits")
SORTED = ("instructions", "quarantine", "dropped_instructions")
LETTERS = "bdfgklmnprstvz"


@dataclass(frozen=True)
class Place:
    """Where one pipeline lives: its data folder, its source, and how many rows it was given by each turn."""

    folder: Path

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def source(self) -> Path:
        """The file of rows."""
        return self.folder / "source.jsonl"


def _word(draw: random.Random) -> str:
    return "".join(draw.choice(LETTERS) + draw.choice("aeiou") for _ in range(draw.randint(2, 4)))


def _text(draw: random.Random) -> str:
    return " ".join(_word(draw) for _ in range(14)).capitalize() + "."


def lines(seed: int, turn: int) -> list[bytes]:
    """The rows of a turn: every turn adds two to keep, one that repeats another, and one that cannot be kept."""
    found = []
    for number in range(turn + 1):
        draw = random.Random(f"{seed}:{number}")
        rows = [{"instruction": _text(draw), "input": "", "output": _text(draw)} for _ in range(2)]
        rows += [rows[0], {"instruction": _text(draw), "input": "", "output": ""}]
        found += [json.dumps(row).encode() + b"\n" for row in rows]
    return found


def expected(seed: int, turn: int) -> dict[str, list[str]]:
    """By table, what its rows must be known by, sorted: their responses, and why those that are left out are."""
    rows = [json.loads(line) for line in lines(seed, turn)]
    kept = sorted({row["output"] for row in rows} - {""})
    return {
        "raw_instructions": sorted(row["output"] for row in rows),
        "instructions": kept,
        "quarantine": [""] * (turn + 1),
        "dropped_instructions": ["exact_duplicate"] * (turn + 1),
    }


def run(say: Callable[[str], None], place: Place, seed: int, turn: int, compared: bool) -> None:
    """Compare what is there with the model, say "ready", and run the pipeline on the rows of this turn.

    Raises AssertionError where something differs.
    """
    if compared and (wrong := compare(place, seed, (turn - 1, turn), ended=False)):
        raise AssertionError("\n".join(wrong))
    splits = {
        split: (str(path),)
        for split, path in starter_files(place.folder / "starter", seed=0, rows=200).splits.items()
    }
    place.source.write_bytes(b"".join(lines(seed, turn)))
    _here(place)
    request = Request(preset="smoke", sources=[str(place.source)], splits=splits, to="dropped_instructions")
    with (place.folder / "console.txt").open("w") as file:
        say("ready")
        run_request(request, Console(file=file))


def _here(place: Place) -> None:
    os.environ["SULTANA_DATA"] = str(place.data)
    place.data.mkdir(parents=True, exist_ok=True)
    prepare_instance(place.data)


def compare(place: Place, seed: int, turns: tuple[int, ...], ended: bool) -> list[str]:
    """How events, commit log and Lance differ from each other and from the model of one of `turns`, in words.

    `ended` says that the last run went through: then everything must be of the last turn, and no run unfinished.
    """
    if not (place.data / "dagster" / "dagster.yaml").exists():
        return ["there is no instance"] if ended else []
    wrong: list[str] = []
    tables = Storage(folder=str(place.data)).tables()
    with open_instance(place.data) as instance:
        made = {name: list(every_materialization(instance, name)) for name in ASSETS}
        newest = {name: found[0] for name in ASSETS if (found := materializations(instance, name))}
        runs = {run.run_id: run for run in instance.get_runs()}
    acknowledged = {name: tables.versions(name) for name in tables.commits.tables()}
    wrong += _events_in_the_log(made, acknowledged)
    wrong += _commits_in_the_events(tables, made, runs)
    unstarted = set(ASSETS) - acknowledged.keys()
    wrong += [f"{one.table}: {one.problem}" for one in tables.check() if one.table not in unstarted]
    if wrong:
        return wrong
    for name in expected(seed, 0):
        if name in newest:
            found = _texts(tables, newest[name].table(name))
            if found not in [expected(seed, turn)[name] for turn in turns if turn >= 0]:
                wrong.append(f"the rows of {name} are of none of the turns {turns}")
    for name, refs in acknowledged.items():
        keys = [one.idempotency_key for one in tables.commits.history(name)]
        if len(keys) != len(set(keys)):
            wrong.append(f"the same work on {name} was acknowledged twice")
        if ended and name in newest and newest[name].table(name) != refs[-1]:
            wrong.append(f"the newest materialization of {name} is not of the newest version")
    if ended:
        missing = set(ASSETS) - newest.keys()
        wrong += [f"{name} was not made" for name in sorted(missing)]
        unfinished = [run.run_id for run in runs.values() if not run.is_finished]
        wrong += [f"run {run_id} counts as unfinished" for run_id in unfinished]
    return wrong


def _events_in_the_log(
    made: dict[str, list[Materialized]], acknowledged: dict[str, list[TableRef]]
) -> list[str]:
    return [
        f"the materialization {one.storage_id} of {name} names {ref}, which the commit log does not know"
        for name, found in made.items()
        for one in found
        for ref in [one.table(name)]
        if ref not in acknowledged.get(name, [])
    ]


def _commits_in_the_events(
    tables: LanceTables, made: dict[str, list[Materialized]], runs: dict[str, dg.DagsterRun]
) -> list[str]:
    wrong = []
    for name, found in made.items():
        named = {one.table(name).version for one in found}
        for commit in tables.commits.history(name) if name in tables.commits.tables() else []:
            run = runs.get(commit.run_id)
            if run is None:
                wrong.append(f"version {commit.version} of {name} is by a run that Dagster does not know")
            elif run.is_success and commit.version not in named:
                wrong.append(f"no materialization names version {commit.version} of {name}")
    return wrong


def _texts(tables: LanceTables, ref: TableRef) -> list[str]:
    found = tables.read(ref)
    if ref.table == "quarantine":
        return [""] * found.num_rows
    if ref.table == "dropped_instructions":
        return sorted(found["reason"].to_pylist())
    return sorted(row[-1]["content"] for row in found["messages"].to_pylist())

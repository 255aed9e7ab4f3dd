"""What a deployment costs: loading the definitions, starting the UI, and refreshes of the starter corpus.

A refresh is the command `sultana run --to diversity_clusters` as a user types it, process and all: the full one
in an empty data folder, then one where nothing has changed, then one where one row in a hundred has. Times are
wall times beside what else the machine does, CPU-seconds those of the command; rows embedded are counted.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from assets.instructions.starter_files import starter_files
from assets.materialized import materializations
from orchestration.instance import open_instance
from tests.benchmarks.runner import REPOSITORY, say
from tests.orchestration.deployment import change_rows
from tests.orchestration.servers import sultana_ui

ROWS = 4_800
CHANGED = 0.01
PATIENCE_SECONDS = 600
LOADED = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError {
  __typename ... on RepositoryLocation { repositories { assetNodes { id } } } } } } } }"""
LOADING = """
import json, time
started = time.monotonic()
from orchestration.definitions import defs
defs.get_repository_def()
print(json.dumps({"seconds": time.monotonic() - started}))
"""
NAMES = {
    "definitions": "loading the definitions",
    "definitions_process": "the same, with the start of Python",
    "ui_answers": "starting the UI until it answers",
    "ui_loaded": "starting the UI until all definitions are loaded",
    "full": "full refresh, first run to diversity_clusters",
    "empty": "empty refresh, nothing changed",
    "one_per_cent": "refresh with 1 % of the rows changed",
}

Measured = dict[str, float]


def deployment(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """The line for data/bench.jsonl. `rows` are those of the starter corpus."""
    rows = rows or ROWS
    measured: dict[str, list[Measured]] = {name: [] for name in NAMES}
    load = os.getloadavg()[0]
    for run in range(runs):
        for name, found in _one_run(folder / str(run), rows).items():
            measured[name].append(found)
            say(f"deployment {run + 1}/{runs}: {NAMES[name]}: {_words(found)}")
    results = {name: _summary(found) for name, found in measured.items()}
    _show(results, rows, runs, load)
    return {
        "name": "deployment",
        "unit": "wall seconds, CPU-seconds of the command, rows",
        "results": results,
        "rows": rows,
        "runs": runs,
        "load_average": round(load, 2),
        "processors": os.cpu_count(),
        "corpus": "starter corpus",
    }


def _one_run(folder: Path, rows: int) -> dict[str, Measured]:
    data = folder / "data"
    data.mkdir(parents=True)
    source = starter_files(folder / "starter", seed=0, rows=rows).instructions[0]
    found: dict[str, Measured] = {}
    told, found["definitions_process"] = _timed(["-c", LOADING], data)
    found["definitions"] = json.loads(told)
    found["full"] = _refresh(data, source.parent)
    found["empty"] = _refresh(data, source.parent)
    change_rows(data, source, round(found["full"]["rows"] * CHANGED))
    found["one_per_cent"] = _refresh(data, source.parent)
    found["ui_answers"], found["ui_loaded"] = _ui(data)
    return {name: found[name] for name in NAMES}


def _timed(command: list[str], data: Path) -> tuple[str, Measured]:
    """What a Python command prints, and what it took, with the processes that it waited for."""
    with (data / "output.txt").open("w+", encoding="utf-8") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=REPOSITORY,
            env=os.environ | {"SULTANA_DATA": str(data)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        told = output.read()
    if process.returncode:
        raise RuntimeError(f"{command} ended with status {process.returncode}\n{told}")
    return told, {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime}


def _refresh(data: Path, source: Path) -> Measured:
    command = ["-m", "orchestration.cli", "run", "--source", str(source), "--to", "diversity_clusters"]
    _, took = _timed(command, data)
    with open_instance(data) as instance:
        embeddings = materializations(instance, "instruction_embeddings")[0]
        rows = materializations(instance, "instructions")[0].table("instructions").rows
    reused = "reused_from_run" in embeddings.metadata
    embedded = 0 if reused else embeddings.metadata["newly_embedded_rows"].value
    return {**took, "rows_embedded": embedded, "rows": rows}  # type: ignore[dict-item]


def _ui(data: Path) -> tuple[Measured, Measured]:
    """Until it answers, and until it has loaded the definitions, both from the start of the command."""
    started = time.monotonic()
    with sultana_ui(data) as (address, process):

        def wait_until(holds: Callable[[], bool]) -> Measured:
            while not holds():
                if process.poll() is not None or time.monotonic() - started > PATIENCE_SECONDS:
                    raise RuntimeError(f"the UI did not start\n{(data / 'ui.log').read_text()}")
                time.sleep(0.1)
            return {"seconds": time.monotonic() - started}

        return wait_until(lambda: _answers(address)), wait_until(lambda: _is_loaded(address))


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/server_info", timeout=5).close()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


def _is_loaded(address: str) -> bool:
    """Whether the code location is loaded, with assets; one that cannot be loaded is an error."""
    question = urllib.request.Request(
        f"{address}/graphql",
        json.dumps({"query": LOADED}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(question, timeout=60) as answer:
        (location,) = json.load(answer)["data"]["workspaceOrError"]["locationEntries"]
    loaded = location["locationOrLoadError"]
    if location["loadStatus"] != "LOADED" or loaded is None:
        return False
    if loaded["__typename"] != "RepositoryLocation":
        raise RuntimeError(f"the definitions cannot be loaded: {loaded}")
    return any(repository["assetNodes"] for repository in loaded["repositories"])


def _summary(found: list[Measured]) -> dict[str, Any]:
    """Of each figure the median, and of the wall time the shortest and the longest."""
    seconds = [one["seconds"] for one in found]
    medians = {key: round(statistics.median(one[key] for one in found), 2) for key in found[0]}
    return {**medians, "spread": [round(min(seconds), 2), round(max(seconds), 2)]}


def _words(found: Measured) -> str:
    words = [f"{found['seconds']:.1f} s"]
    if "cpu_seconds" in found:
        words.append(f"{found['cpu_seconds']:.1f} CPU-seconds")
    if "rows" in found:
        words.append(f"{found['rows_embedded']:,.0f} of {found['rows']:,.0f} rows embedded")
    return ", ".join(words)


def _show(results: dict[str, dict[str, Any]], rows: int, runs: int, load: float) -> None:
    board = Table(
        title=f"Starter corpus of {rows:,} rows, medians (runs: {runs}); load average {load:.1f} on "
        f"{os.cpu_count()} processors at the start",
        title_justify="left",
    )
    for column in (
        "",
        "wall seconds",
        "lowest to highest",
        "CPU-seconds",
        "rows embedded",
        "of full refresh",
    ):
        board.add_column(column, justify="right" if column else "left")
    for name, what in NAMES.items():
        one = results[name]
        refreshes = "rows" in one
        board.add_row(
            what,
            f"{one['seconds']:.1f}",
            f"{one['spread'][0]:.1f} to {one['spread'][1]:.1f}",
            f"{one['cpu_seconds']:.1f}" if "cpu_seconds" in one else "",
            f"{one['rows_embedded']:,.0f} of {one['rows']:,.0f}" if refreshes else "",
            f"{one['cpu_seconds'] / results['full']['cpu_seconds']:.1%} of CPU" if refreshes else "",
        )
    Console(width=140).print(board)

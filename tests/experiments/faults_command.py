"""The command `faults`: how many faulty rows of the starter corpus does each strategy select?

The pool is the starter corpus as its reader passes it: rows with wrong answers, cut-off and off-topic
responses, near-duplicates and rows that leak the test split are still there. Which they are is known from the
marks, which no strategy sees. Nothing is trained but what a strategy trains to select; its share of faulty
rows is compared with that of the candidates. A table is written to data/experiments/faults.md.
"""

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.experiments.benchmarks import STARTER, STARTER_ROWS
from tests.experiments.raise_command import FOLDER, add_settings, read_settings, say

KINDS = ("wrong_answer", "truncated", "off_topic", "near_duplicate", "contaminated")
"""Faults that a row can still have once the reader has passed it and exact duplicates are one row."""


def main(arguments: Sequence[str]) -> int:
    """Runs what is missing and prints the table."""
    from tests.experiments.results import Results
    from tests.experiments.runs import STRATEGIES, UNTRAINED, Settings

    parser = argparse.ArgumentParser(prog="python -m tests.experiments faults", description=__doc__)
    usual = [name for name in STRATEGIES if name not in (UNTRAINED, "full", "alpagasus")]
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES[1:], default=usual)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--report", action="store_true", help="only print the table of what was run")
    add_settings(parser, Settings)
    given = parser.parse_args(arguments)
    settings = read_settings(given, Settings)
    results = Results(FOLDER / "faults.jsonl")
    if not given.report:
        _run(given, settings, results)
    text = table([line for line in results.lines() if line["settings"] == asdict(settings)])
    (FOLDER / "faults.md").write_text(text + "\n", encoding="utf-8")
    say(text)
    return 0


def _run(given: argparse.Namespace, settings: Any, results: Any) -> None:
    from resources.language_model import LanguageModel
    from tests.experiments.cache import Cache
    from tests.experiments.pools import prepared
    from tests.experiments.results import log_to_mlflow, run_id
    from tests.experiments.runs import Bench, identity, is_targeted, made_with

    cache = Cache(FOLDER / "cache")
    model = LanguageModel(folder=Path("data") / "models")
    found, faults = faulty_rows()
    found = found[: settings.pool_rows or None]
    rows = prepared(
        "faulty starter",
        ["faults", STARTER_ROWS, settings.pool_rows, settings.maximum_length, settings.clusters],
        found,
        cache=cache,
        maximum_length=settings.maximum_length,
        clusters=settings.clusters,
        model=model,
    )
    bench = Bench(rows, settings, model, cache, FOLDER, say)
    say(f"{len(rows.pool):,} rows, {sum(one in faults for one in rows.pool.row_ids):,} of them faulty")
    for seed in given.seeds:
        for strategy in given.strategies:
            # Only the starter's reward split fits its rows, whatever real data there is.
            reward = STARTER if is_targeted(strategy) else None
            key = identity(settings, rows, reward, strategy, seed, {}) | {"experiment": "faults"}
            run = run_id(key)
            with results.claimed(run) as mine:
                if not mine or run in {line["run"] for line in results.lines()}:
                    continue
                selections, facts, inputs = bench.select(strategy, seed, reward, {}, run)
                slots = [entry.row_id for one in selections for entry in one]
                line = {
                    "run": run,
                    **key,
                    "strategy": strategy,
                    "commit": made_with(),
                    "slots": len(slots),
                    "distinct_rows": len(set(slots)),
                    "selected": _shares(slots, faults),
                    "candidates": _shares(inputs.pool.row_ids, faults),
                    "cpu_seconds": {"selecting": inputs.meter.total},
                    "facts": facts,
                }
                results.append(line)
                shutil.rmtree(FOLDER / "work" / run, ignore_errors=True)
            log_to_mlflow(Path("data") / "mlflow", "faults", line, [])
            say(f"{strategy}, seed {seed}: {sum(line['selected'].values()):.1%} faulty")


def faulty_rows() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows as a pool takes them, in the order of their ids, and the fault of each faulty one by row id."""
    from assets.identity import instruction_id
    from assets.instructions.raw import read_sources
    from assets.instructions.specs import SourceSpec
    from assets.instructions.starter.corpus import write_starter
    from assets.instructions.validate import normalise, problem_in

    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="sultana-experiment-") as folder:
        files = write_starter(Path(folder), rows=STARTER_ROWS)
        specs = [SourceSpec(name=path.stem, uri=str(path)) for path in files.instructions]
        for row in read_sources(specs):
            if row["problem"]:
                continue
            messages = normalise(row["messages"])
            if problem_in(messages) is None:
                key = instruction_id(messages)
                found = {"row_id": key, "messages": messages, "source": row["source"], "task": row["task"]}
                rows.setdefault(key, found)
        marks = [json.loads(text) for text in files.marks.read_text(encoding="utf-8").splitlines()]
    faults = {mark["instruction_id"]: mark["fault"] for mark in marks if mark["fault"] in KINDS}
    return [rows[key] for key in sorted(rows)], faults


def _shares(row_ids: Sequence[str], faults: Mapping[str, str]) -> dict[str, float]:
    counts = Counter(faults[one] for one in row_ids if one in faults)
    return {kind: counts[kind] / max(1, len(row_ids)) for kind in KINDS}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: each strategy's share of faulty rows among all slots, by fault, over seeds."""
    if not lines:
        return "Nothing has been run with these settings."
    head = ["strategy", "seeds", "faulty", "of the candidates' share", *KINDS]
    rows = [head, ["---"] * len(head)]
    rows.append(["candidates", "", *_cells([line["candidates"] for line in lines], 1.0)])
    for strategy in dict.fromkeys(line["strategy"] for line in lines):
        mine = [line for line in lines if line["strategy"] == strategy]
        base = np.mean([sum(line["candidates"].values()) for line in mine])
        share = np.mean([sum(line["selected"].values()) for line in mine])
        cells = _cells([line["selected"] for line in mine], float(share / base))
        rows.append([strategy, str(len(mine)), *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cells(shares: Sequence[Mapping[str, float]], ratio: float) -> list[str]:
    whole = [sum(one.values()) for one in shares]
    spread = f" ± {np.std(whole, ddof=1):.1%}" if len(whole) > 1 else ""
    by_kind = [f"{np.mean([one[kind] for one in shares]):.1%}" for kind in KINDS]
    return [f"{np.mean(whole):.1%}{spread}", f"{ratio:.2f} ×", *by_kind]

"""The command `raise`: strategies of selection against random, on real pools.

Runs missing combinations of pools, rewards, strategies and seeds, then prints the tables and writes them to
data/experiments/raise.md and raise.json. Two processes may share the work: each takes what the other has not
begun. `--variant "raise, 2 rounds" raise policy.rounds=2` runs a strategy with other settings as an arm of its
own; the setting `longest_response=20` lets it look at candidates with short responses only.
`save_policy=NAME` keeps RAISE's policy of each reward and seed, and `policy_of=NAME` starts another run from it.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from tests.experiments.benchmarks import STARTER, shared_folder

FOLDER = Path("data") / "experiments"
POOLS = ("alpaca", "planted", STARTER)


class Arm(NamedTuple):
    """A strategy with settings of its own, under the name that the tables give it."""

    label: str
    strategy: str
    options: dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Runs what is missing and prints the tables."""
    from tests.experiments.rewards import REWARDS
    from tests.experiments.runs import STRATEGIES, Settings

    real = shared_folder() is not None
    parser = argparse.ArgumentParser(prog="python -m tests.experiments raise", description=__doc__)
    parser.add_argument("--pools", nargs="+", choices=POOLS)
    parser.add_argument("--rewards", nargs="+", choices=list(REWARDS))
    usual = [name for name in STRATEGIES if name not in ("full", "alpagasus")]
    parser.add_argument("--strategies", nargs="*", choices=STRATEGIES, default=usual)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--report", action="store_true", help="only print the tables of what was run")
    parser.add_argument(
        "--results", type=Path, default=FOLDER / "raise.jsonl", help="where lines of results are"
    )
    parser.add_argument("--again", action="store_true", help="run also what was run before")
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar="TEXT",
        help="LABEL STRATEGY NAME=VALUE …: a strategy with other settings; may be given several times",
    )
    parser.add_argument(
        "--figure",
        metavar="RUN",
        nargs="+",
        help="draw what the first run chose, and when, beside the others",
    )
    add_settings(parser, Settings)
    given = parser.parse_args(arguments)
    settings = read_settings(given, Settings)
    arms = [Arm(name, name, {}) for name in given.strategies]
    arms += [_variant(texts, STRATEGIES) for texts in given.variant]
    for arm in arms:
        settings.curriculum(1, arm.options)  # refuses settings that there are not
    if given.figure:
        return _figure(given, settings)
    if not given.report:
        given.pools = given.pools or ([name for name in POOLS if name != STARTER] if real else [STARTER])
        given.rewards = given.rewards or list(REWARDS)
        _run(given, settings, arms)
    return _report(given, settings)


def add_settings(parser: argparse.ArgumentParser, settings: Any) -> None:
    for one in fields(settings):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)


def read_settings(given: argparse.Namespace, settings: Any) -> Any:
    return settings(**{one.name: getattr(given, one.name) for one in fields(settings)})


def _variant(texts: Sequence[str], strategies: Sequence[str]) -> Arm:
    label, strategy, *options = texts if len(texts) > 1 else [*texts, ""]
    if strategy not in strategies:
        raise SystemExit(
            f"--variant {label!r}: {strategy!r} is no strategy; they are {', '.join(strategies)}"
        )
    names = {option.partition("=")[0] for option in options}
    if strategy != "raise" and (own := names & {"save_policy", "policy_of"}):
        raise SystemExit(f"--variant {label!r}: {min(own)} is of strategy raise, not of {strategy}")
    if label in strategies:
        raise SystemExit(f"--variant {label!r} needs a label that is no strategy's name")
    return Arm(label, strategy, dict(_option(label, text) for text in options))


def _option(label: str, text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found:
        raise SystemExit(f"--variant {label!r} takes NAME=VALUE, not {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _run(given: argparse.Namespace, settings: Any, arms: Sequence[Arm]) -> None:
    from resources.language_model import LanguageModel
    from tests.experiments.cache import Cache
    from tests.experiments.results import Results, log_to_mlflow, run_id
    from tests.experiments.runs import Bench, identity, made_with, rewards_of

    results = Results(given.results)
    cache = Cache(FOLDER / "cache")
    model = LanguageModel(folder=Path("data") / "models")
    for name in given.pools:
        rows = _pool(name, settings)
        say(
            f"{name}: {len(rows.pool):,} rows, {rows.refused:,} more too long; {rows.tokens:,} tokens; "
            f"{settings.steps(len(rows.pool), None)} steps, for GSM8K {settings.steps(len(rows.pool), 'gsm8k')}"
        )
        # The starter corpus has a reward set and a test set of its own.
        rewards = [one for one in given.rewards if (one == STARTER) == (name == STARTER)]
        bench = Bench(rows, settings, model, cache, FOLDER, say)
        for seed in given.seeds:
            for arm, strategy, options in arms:
                for reward in rewards_of(strategy, rewards):
                    key = identity(settings, rows, reward, arm, seed, options)
                    run = run_id(key)
                    with results.claimed(run) as mine:
                        known = {line["run"] for line in results.lines()}
                        if not mine or (run in known and not given.again):
                            continue
                        line, losses = bench.run(strategy, seed, reward, options, run)
                        line = {"run": run, **key, "strategy": strategy, "commit": made_with(), **line}
                        results.append(line)
                        shutil.rmtree(
                            FOLDER / "work" / run, ignore_errors=True
                        )  # what a killed run goes on from
                    log_to_mlflow(Path("data") / "mlflow", "raise", line, losses)
                    say(_said(line))


def _said(line: dict[str, Any]) -> str:
    loss = ", ".join(f"{name} {value:.4f}" for name, value in line["loss"].items())
    cpu = line["cpu_seconds"]
    return (
        f"{line['pool']} {line['reward'] or ''} {line['arm']}, seed {line['seed']}: loss {loss}; "
        f"{cpu['selecting']:.0f} + {cpu['final_training']:.0f} CPU-s, {cpu['measuring']:.0f} to measure; "
        f"run {line['run']}"
    )


def _report(given: argparse.Namespace, settings: Any) -> int:
    from tests.experiments.raise_report import summary, tables
    from tests.experiments.results import Results
    from tests.experiments.rewards import REWARDS

    lines = [line for line in Results(given.results).lines() if line["settings"] == asdict(settings)]
    found = summary(lines, given.pools or POOLS, given.rewards or list(REWARDS))
    text = tables(found)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "raise.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (FOLDER / "raise.md").write_text(text + "\n", encoding="utf-8")
    say(text)
    return 0


def _figure(given: argparse.Namespace, settings: Any) -> int:
    from tests.experiments.figure import Chosen, draw, read_ledger
    from tests.experiments.results import Results

    lines = {line["run"]: line for line in Results(given.results).lines()}
    if unknown := [run for run in given.figure if run not in lines]:
        raise SystemExit(f"No run is called {unknown[0]}; the runs are in {given.results}")
    line = lines[given.figure[0]]
    if elsewhere := [run for run in given.figure if lines[run]["pool_key"] != line["pool_key"]]:
        raise SystemExit(f"The run {elsewhere[0]} is of another pool than {line['run']}")
    rows = _pool(line["pool"], settings.__class__(**line["settings"]))
    runs = []
    for run in given.figure:
        ledger = read_ledger(FOLDER, run)
        ids = ledger["row_id"].to_pylist()
        lengths = [rows.encoded[one].trained_tokens for one in ids]
        runs.append(Chosen(lines[run], ledger, [rows.group(one) for one in ids], lengths))
    path = FOLDER / f"{line['run']}.svg"
    draw(runs, path)
    say(f"Drawn: {path}")
    return 0


def _pool(name: str, settings: Any) -> Any:
    from resources.language_model import LanguageModel
    from resources.progress import Progress
    from tests.experiments.cache import Cache
    from tests.experiments.pools import read_pool

    return read_pool(
        name,
        cache=Cache(FOLDER / "cache"),
        most=settings.pool_rows,
        maximum_length=settings.maximum_length,
        clusters=settings.clusters,
        model=LanguageModel(folder=Path("data") / "models"),
        progress=Progress("reading", None, "rows", say),
    )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

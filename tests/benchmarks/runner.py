"""Runs the two sides of a benchmark in turn and compares them."""

import json
import os
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.benchmarks.corpora import write_corpus

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Subject:
    """What is compared: functions of `sides`, the rows it takes, and whether the peer has its own home."""

    ours: str
    peer: str
    peer_name: str
    rows: int
    own_environment: bool = True


SUBJECTS = {
    "ingestion": Subject("ours_ingestion", "peer_ingestion", "datasets", 50_000, own_environment=False),
    "deduplication": Subject("ours_deduplication", "peer_deduplication", "py-data-juicer", 20_000),
    "embedding": Subject("ours_embedding", "peer_embedding", "sentence-transformers", 2_000),
}


class SkippedError(Exception):
    """A benchmark that cannot run here, with the reason."""


def say(text: str) -> None:
    """A line for the reader at the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def compare(name: str, folder: Path, *, runs: int, rows: int) -> dict[str, Any]:
    """Run both sides `runs` times in turn; the line for data/bench.jsonl.

    The ratio is that of the medians of rows per CPU-second, ours to the peer's; its spread is the lowest
    and highest ratio of a pair of runs.
    """
    subject = SUBJECTS[name]
    python = peer_python() if subject.own_environment else sys.executable
    corpus, source = write_corpus(folder, rows or subject.rows)
    ours: list[dict[str, Any]] = []
    peer: list[dict[str, Any]] = []
    for run in range(runs):
        ours.append(run_side("sides", subject.ours, corpus))
        peer.append(run_side("sides", subject.peer, corpus, python=python, is_peer=True))
        for result in (ours[-1], peer[-1]):
            result["rate"] = result["rows"] / result["cpu_seconds"]
        for who, result in (("ours", ours[-1]), (subject.peer_name, peer[-1])):
            say(
                f"{name} {run + 1}/{runs}: {who} {result['rate']:,.0f} rows per CPU-second, "
                f"peak memory {result['peak_mib']:,.0f} MiB"
            )
    pairs = [one["rate"] / other["rate"] for one, other in zip(ours, peer, strict=True)]
    ratio = _median(ours, "rate") / _median(peer, "rate")
    say(
        f"{name}: {ratio:.2f} times {subject.peer_name}, {min(pairs):.2f} to {max(pairs):.2f} in {runs} pairs"
    )
    return {
        "name": name,
        "ours": {key: _median(ours, key) for key in ("rate", "peak_mib", "wall_seconds")},
        "peer": {"name": subject.peer_name}
        | {key: _median(peer, key) for key in ("rate", "peak_mib", "wall_seconds")},
        "unit": "rows per CPU-second, one thread",
        "ratio": round(ratio, 3),
        "spread": [round(min(pairs), 3), round(max(pairs), 3)],
        "runs": runs,
        "rows": ours[0]["rows"],
        "corpus": source,
        "findings": {"ours": ours[0]["found"], "peer": peer[0]["found"]},
        "versions": ours[0]["versions"] | peer[0]["versions"] | {"sultana": _version("sultana")},
        "command": shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]]),
    }


def run_side(
    module: str,
    side: str,
    *arguments: object,
    python: str = sys.executable,
    threads: int | None = 1,
    is_peer: bool = False,
) -> dict[str, Any]:
    """What a side prints last, a line of JSON: `python -m tests.benchmarks.MODULE SIDE ARGUMENT ...`.

    `threads` are those of its libraries; None: as many as they like. Raises SkippedError where a peer's side
    fails, RuntimeError where ours does.
    """
    environment = os.environ | {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "DISABLE_VERSION_CHECK": "1",  # LLaMA-Factory's, below DataFlex
    }
    if threads is not None:
        environment |= {
            f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL", "RAYON")
        }
    done = subprocess.run(
        [python, "-m", f"tests.benchmarks.{module}", side, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        message = f"{side} ended with status {done.returncode}: {last}"
        if is_peer:
            raise SkippedError(message)
        raise RuntimeError(f"{message}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def peer_python() -> str:
    """The interpreter of the peers' environment. Raises SkippedError where there is none."""
    folder = os.environ.get("SULTANA_BENCH_PEERS")
    if not folder:
        raise SkippedError("SULTANA_BENCH_PEERS names no virtual environment of the peers")
    python = Path(folder).absolute() / "bin" / "python"
    if not python.exists():
        raise SkippedError(f"there is no {python}")
    return str(python)


def _median(results: list[dict[str, Any]], key: str) -> float:
    return round(statistics.median(result[key] for result in results), 3)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

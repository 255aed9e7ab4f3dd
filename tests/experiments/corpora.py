"""The rows of an experiment's pool.

Rows come from the folder that SULTANA_SHARED_DATA names (its README says where the files are from), or from
the starter corpus. Either way they pass through Sultana's own reader, duplicate removal and contamination
check against the questions that the experiment measures on.
"""

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assets.instructions.raw import read_sources
from assets.instructions.sort import Sorted, sort_rows
from assets.instructions.specs import SourceSpec
from resources.progress import Progress
from tests.experiments.benchmarks import (
    STARTER,
    STARTER_ROWS,
    Question,
    first_by_hash,
    scored_questions,
    shared_folder,
)

Parts = Mapping[str, tuple[int, str | None]]
"""Files of a pool: rows taken of each (0: all), and the task of rows that name none."""

MIXED: Parts = {
    "flan_cot_33k": (3000, None),
    "superni_13k": (6000, None),
    "alpaca_random_9k": (3000, None),
    "code_alpaca_2k": (1000, "code"),
}
"""The pool of the experiment on mixing."""


def questions(examples: int, folder: Path) -> list[Question]:
    """At most `examples` questions of each benchmark, the first by hash."""
    return first_by_hash(scored_questions(folder), examples)


def rows(asked: Sequence[Question], folder: Path, progress: Progress) -> list[dict[str, Any]]:
    """The rows of MIXED, or of the starter corpus, in the order of their ids."""
    parts = MIXED if shared_folder() else {STARTER: (0, None)}
    return list(sorted_rows(parts, asked, folder, progress).kept)


def sorted_rows(parts: Parts, asked: Sequence[Question], folder: Path, progress: Progress) -> Sorted:
    """Rows of INSTRUCTIONS that share no n-grams with the questions; `folder` is for files on the way."""
    examples = [
        {
            "example_id": str(number),
            "split": "test",
            "messages": [{"role": "user", "content": one.prompt}],
            "response": one.response,
        }
        for number, one in enumerate(asked)
    ]
    return sort_rows(
        read_sources(_sources(parts, folder)),
        examples,
        near_duplicate_threshold=0.8,
        contamination_ngram=8,
        contamination_threshold=0.7,
        seed=0,
        progress=progress,
    )


def _sources(parts: Parts, folder: Path) -> list[SourceSpec]:
    if set(parts) == {STARTER}:
        from assets.instructions.starter_files import starter_files

        files = starter_files(folder / STARTER, seed=0, rows=STARTER_ROWS)
        return [SourceSpec(name=path.stem, uri=str(path)) for path in files.instructions]
    shared = shared_folder()
    if shared is None:
        raise ValueError(f"{', '.join(parts)}: SULTANA_SHARED_DATA names no folder with real data")
    sources = []
    for name, (most, task) in parts.items():
        path = folder / f"{name}.jsonl"
        with gzip.open(shared / "instructions" / f"{name}.jsonl.gz", "rb") as file:
            chosen = sorted(file.read().split(b"\n"), key=lambda line: hashlib.sha256(line).digest())
        lines = [line for line in chosen if line.strip()]
        path.write_bytes(b"\n".join(lines[: most or None]) + b"\n")
        sources.append(SourceSpec(name=name, uri=str(path), task=task))
    return sources

"""The rows and the benchmark examples of an experiment.

Rows come from the folder that SULTANA_SHARED_DATA names (its README says where the files are from), or from
the starter corpus. Either way they pass through Sultana's own reader, duplicate removal and contamination
check against the examples that the experiment measures on.
"""

import gzip
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.instructions.raw import read_sources
from assets.instructions.sort import sort_rows
from assets.instructions.specs import SourceSpec
from resources.progress import Progress

SOURCES = {
    "flan_cot_33k": (3000, None),
    "superni_13k": (6000, None),
    "alpaca_random_9k": (3000, None),
    "code_alpaca_2k": (1000, "code"),
}
"""Files of the pool: rows taken of each, and the task of rows that name none."""

_ARC = re.compile(r"question:\s*(.+?)\s+Answer1:", re.DOTALL)
_ARC_CHOICE = re.compile(r"Answer\d:\s*(.+?)(?=\s+Answer\d:|\s+Answer format:|$)", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """A benchmark example: the prompt without choices, the reference response, and the choices if any."""

    benchmark: str
    prompt: str
    response: str
    choices: tuple[str, ...] = ()
    answer: str | None = None  # what exact match compares, where there are no choices


def shared_folder() -> Path | None:
    """The folder with real data, where there is one."""
    folder = Path(os.environ.get("SULTANA_SHARED_DATA", ""))
    return folder if os.environ.get("SULTANA_SHARED_DATA") and (folder / "instructions").is_dir() else None


def questions(examples: int, folder: Path) -> list[Question]:
    """At most `examples` questions of each benchmark, the first by hash."""
    shared = shared_folder()
    found: dict[str, list[Question]] = {}
    for question in _real_questions(shared / "benchmarks") if shared else _starter_questions(folder):
        found.setdefault(question.benchmark, []).append(question)
    return [
        question
        for name in sorted(found)
        for question in sorted(found[name], key=lambda one: _hash(f"{one.prompt}\0{one.response}"))[:examples]
    ]


def rows(asked: Sequence[Question], folder: Path, progress: Progress) -> list[dict[str, Any]]:
    """The pool: rows of INSTRUCTIONS that share no n-grams with the questions, in the order of their ids."""
    shared = shared_folder()
    if shared:
        sources = []
        for name, (most, task) in SOURCES.items():
            path = folder / f"{name}.jsonl"
            with gzip.open(shared / "instructions" / f"{name}.jsonl.gz", "rb") as file:
                chosen = sorted(file.read().split(b"\n"), key=lambda line: hashlib.sha256(line).digest())
            path.write_bytes(b"\n".join([line for line in chosen if line.strip()][:most]) + b"\n")
            sources.append(SourceSpec(name=name, uri=str(path), task=task))
    else:
        from assets.instructions.starter.corpus import write_starter

        files = write_starter(folder / "starter", rows=4800)
        sources = [SourceSpec(name=path.stem, uri=str(path)) for path in files.instructions]
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
        read_sources(sources),
        examples,
        near_duplicate_threshold=0.8,
        contamination_ngram=8,
        contamination_threshold=0.7,
        seed=0,
        progress=progress,
    ).kept


def _real_questions(folder: Path) -> Iterator[Question]:
    for row in _lines(folder / "gsm8k_test.jsonl.gz"):
        worked, _, answer = row["answer"].partition("####")
        response = re.sub(r"<<.*?>>", "", worked).strip() + f"\nThe answer is {answer.strip()}."
        yield Question("GSM8K", row["question"], response, answer=answer.strip())
    for row in _lines(folder / "arc_test.jsonl.gz"):
        asked, choices = _ARC.search(row["instruction"]), _ARC_CHOICE.findall(row["instruction"])
        place = int(row["answer"].removeprefix("answer")) - 1
        if row["task"] == "ARC-Challenge" and asked and place < len(choices):
            yield Question("ARC-Challenge", asked[1], choices[place], tuple(choices))
    for row in _lines(folder / "commonsenseqa_dev.jsonl.gz"):
        choices = [choice["text"] for choice in row["question"]["choices"]]
        labels = [choice["label"] for choice in row["question"]["choices"]]
        right = choices[labels.index(row["answerKey"])]
        yield Question("CommonsenseQA", row["question"]["stem"], right, tuple(choices))
    for row in _lines(folder / "mmlu_test.jsonl.gz"):
        if len(set(row["choices"])) == len(row["choices"]):
            right = row["choices"]["ABCD".index(row["answer"])]
            yield Question("MMLU", row["question"], right, tuple(row["choices"]))


def _starter_questions(folder: Path) -> Iterator[Question]:
    from assets.instructions.examples import read_examples
    from assets.instructions.starter.corpus import write_starter

    files = write_starter(folder / "starter", rows=4800)
    for example in read_examples(SourceSpec(name="starter", uri=str(files.splits["test"]))):
        yield Question("starter", example.messages[-1]["content"], example.response, answer=example.answer)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rb") as file:
        for line in file:
            yield json.loads(line)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

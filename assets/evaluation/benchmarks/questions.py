"""Benchmark questions from local files, in the fields that the harness's own tasks expect.

Files are JSON Lines, JSON or Parquet, compressed or not, read by the one reader of user files. Of each
benchmark the layouts in circulation are understood: that of its Hub data set, that of its authors, and for
ARC the rewording of LLM-Adapters ("answer1" to "answer4").
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.identity import ID_LENGTH, digest
from assets.instructions.reader import read_rows
from assets.instructions.sources import SourceFile
from resources.errors import SultanaError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One question. `doc` has the harness's fields, `prompt` and `answer` are its text without a template.

    `task` is the harness's own (one of MMLU's subjects, else the benchmark's name); `question_id` a hash of
    the content, equal wherever the question is read from in the same layout.
    """

    question_id: str
    task: str
    doc: dict[str, Any]
    prompt: str
    answer: str


class _Unusable(ValueError):
    """A row that is not a question of this benchmark, with the reason."""


_ARC_ASKED = re.compile(r"question:\s*(.+?)\s+Answer1:", re.DOTALL)
_ARC_CHOICE = re.compile(r"Answer\d:\s*(.+?)(?=\s+Answer\d:|\s+Answer format:|$)", re.DOTALL)
_LETTERS = "ABCDEFGHIJ"
MBPP_TEST = range(11, 511)
MBPP_EXAMPLES = (2, 3, 4)
"""MBPP's split by task id, and the harness's three examples, are those of its authors (Austin et al., 2021)."""


def _field(row: Row, name: str, kind: type | tuple[type, ...]) -> Any:
    value = row.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _Unusable(f"the field '{name}' is missing or of another type")
    return value


def _choices(found: Any) -> tuple[list[str], list[str]]:
    """(texts, labels) from a list of {text, label} or a mapping of two lists."""
    if isinstance(found, Mapping):
        texts, labels = found.get("text"), found.get("label")
    elif isinstance(found, list) and all(isinstance(one, Mapping) for one in found):
        texts, labels = [one.get("text") for one in found], [one.get("label") for one in found]
    else:
        texts = labels = None
    if not isinstance(texts, list) or not isinstance(labels, list) or not 1 < len(texts) == len(labels):
        raise _Unusable("its choices are no list of texts with labels")
    if not all(isinstance(one, str) and one for one in (*texts, *labels)):
        raise _Unusable("a choice has no text or no label")
    return texts, labels


def _multiple_choice(row: Row) -> tuple[dict[str, Any], str, str]:
    asked = row.get("question")
    if isinstance(asked, Mapping):  # the layout of the authors of ARC and CommonsenseQA
        stem, found = _field(asked, "stem", str), asked.get("choices")
    else:
        stem, found = _field(row, "question", str), row.get("choices")
    texts, labels = _choices(found)
    key = _field(row, "answerKey", str)
    if key not in labels:
        raise _Unusable(f"its answer '{key}' is not one of its labels")
    doc = {"question": stem, "choices": {"text": texts, "label": labels}, "answerKey": key}
    return doc, stem, texts[labels.index(key)]


def _arc(benchmark: str) -> Callable[[Row], tuple[dict[str, Any], str, str] | None]:
    task = {"arc_challenge": "ARC-Challenge", "arc_easy": "ARC-Easy"}[benchmark]

    def adapt(row: Row) -> tuple[dict[str, Any], str, str] | None:
        if "instruction" not in row:
            return _multiple_choice(row)
        if _field(row, "task", str) != task:
            return None
        asked, texts = _ARC_ASKED.search(row["instruction"]), _ARC_CHOICE.findall(row["instruction"])
        right = _field(row, "answer", str).removeprefix("answer")
        if asked is None or not right.isdecimal() or not 1 <= int(right) <= len(texts):
            raise _Unusable("its instruction holds no question with numbered answers")
        labels = list(_LETTERS[: len(texts)])
        key = labels[int(right) - 1]
        doc = {"question": asked[1], "choices": {"text": texts, "label": labels}, "answerKey": key}
        return doc, asked[1], texts[int(right) - 1]

    return adapt


def _commonsense_qa(row: Row) -> tuple[dict[str, Any], str, str]:
    doc, stem, right = _multiple_choice(row)
    if doc["choices"]["label"] != list("ABCDE"):
        raise _Unusable("its choices are not A to E")
    return doc, stem, right


def _mmlu(row: Row) -> tuple[dict[str, Any], str, str]:
    texts = _field(row, "choices", list)
    right = _field(row, "answer", (str, int))
    place = right if isinstance(right, int) else "ABCD".find(right)
    if len(texts) != 4 or not all(isinstance(one, str) for one in texts) or not 0 <= place < 4:
        raise _Unusable("it needs four choices and an answer A to D or 0 to 3")
    question, subject = _field(row, "question", str), _field(row, "subject", str)
    return (
        {"question": question, "subject": subject, "choices": texts, "answer": place},
        question,
        texts[place],
    )


def _gsm8k(row: Row) -> tuple[dict[str, Any], str, str]:
    question, answer = _field(row, "question", str), _field(row, "answer", str)
    if "####" not in answer:
        raise _Unusable("its answer has no '####' before the number")
    return {"question": question, "answer": answer}, question, answer


def _ifeval(row: Row) -> tuple[dict[str, Any], str, str]:
    names, settings = _field(row, "instruction_id_list", list), _field(row, "kwargs", list)
    prompt = _field(row, "prompt", str)
    if not names or len(names) != len(settings) or not all(isinstance(one, Mapping) for one in settings):
        raise _Unusable("it needs one mapping in 'kwargs' for each of 'instruction_id_list'")
    doc = {"key": row.get("key"), "prompt": prompt, "instruction_id_list": names, "kwargs": settings}
    return doc, prompt, ""


def _humaneval(row: Row) -> tuple[dict[str, Any], str, str]:
    names = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    doc = {name: _field(row, name, str) for name in names}
    return doc, doc["prompt"], doc["canonical_solution"]


def _mbpp(row: Row) -> tuple[dict[str, Any], str, str] | None:
    tests = _field(row, "test_list", list)
    if len(tests) < 3 or not all(isinstance(one, str) for one in tests):
        raise _Unusable("it needs three tests or more")
    number = _field(row, "task_id", int)
    doc = {
        "task_id": number,
        "text": _field(row, "text", str),
        "code": _field(row, "code", str),
        "test_list": tests,
    }
    return (doc, doc["text"], doc["code"]) if number in (*MBPP_TEST, *MBPP_EXAMPLES) else None


_ADAPTERS: dict[str, Callable[[Row], tuple[dict[str, Any], str, str] | None]] = {
    "mmlu": _mmlu,
    "arc_challenge": _arc("arc_challenge"),
    "arc_easy": _arc("arc_easy"),
    "commonsense_qa": _commonsense_qa,
    "gsm8k": _gsm8k,
    "gsm8k_cot_zeroshot": _gsm8k,
    "ifeval": _ifeval,
    "humaneval": _humaneval,
    "humaneval_instruct": _humaneval,
    "mbpp": _mbpp,
    "mbpp_instruct": _mbpp,
}
BENCHMARKS = tuple(_ADAPTERS)


def read_questions(benchmark: str, files: Sequence[SourceFile]) -> list[Question]:
    """The questions of a benchmark, in the order of the files.

    Rows of another of ARC's two sets, and of MBPP's training splits, are passed over. Raises SultanaError
    where a row cannot be read or is not of the benchmark, or none is.
    """
    found = list(as_questions(benchmark, _rows(files)))
    if not found:
        raise SultanaError(
            f"{', '.join(one.name for one in files)}: no row is a question of '{benchmark}'",
            "Check the benchmark's name and file",
            code="benchmark-file-mismatch",
        )
    return found


def _rows(files: Sequence[SourceFile]) -> Iterator[tuple[str, Row]]:
    for file in files:
        for row in read_rows(file.path, name=file.name):
            if row.value is None:
                raise SultanaError(
                    f"{file.name}, row {row.position}: {row.problem} ({row.detail})",
                    "Correct or remove that row: a benchmark is scored whole",
                    code="benchmark-question-unusable",
                )
            yield f"{file.name}, row {row.position}", row.value


def as_questions(benchmark: str, rows: Iterator[tuple[str, Row]]) -> Iterator[Question]:
    """Questions from (where it stands, row); see `read_questions`."""
    adapt = _ADAPTERS[benchmark]
    seen: dict[str, int] = {}
    for where, row in rows:
        try:
            adapted = adapt(row)
        except _Unusable as problem:
            raise SultanaError(
                f"{where} is not a question of '{benchmark}': {problem}",
                "Check the benchmark's name and file",
                code="benchmark-file-mismatch",
            ) from problem
        if adapted is None:
            continue
        doc, prompt, answer = adapted
        task = f"mmlu_{doc['subject']}" if benchmark == "mmlu" else benchmark
        # A few of MMLU's questions are there twice; they are two questions, as in the harness.
        content = digest([task, prompt, answer, doc.get("choices")])
        seen[content] = seen.get(content, 0) + 1
        yield Question(digest([content, seen[content]])[:ID_LENGTH], task, doc, prompt, answer)


def chosen_by_hash(questions: Sequence[Question], most: int) -> list[Question]:
    """At most `most` questions (0: all) of the smallest ids, which are hashes, in the order given."""
    if not most or len(questions) <= most:
        return list(questions)
    ids = set(sorted(one.question_id for one in questions)[:most])
    return [one for one in questions if one.question_id in ids]

"""The starter corpus: an instruction corpus that the project ships as code and makes itself.

A seed and a size fix every byte. No row comes from elsewhere, so the licence is the project's to give.
The splits are drawn first and the training rows after them, never with a prompt or with the parameters
of an earlier row; what leaks from the test split into the training rows is planted, and marked.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from assets.identity import example_id, instruction_id
from assets.instructions.starter.composing import benchmark_row, training_row
from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.faults import (
    FAULTS,
    LINE_FAULTS,
    SHARES,
    Planted,
    contaminated,
    fault_counts,
    near_duplicate,
    off_topic,
    truncated,
    unreadable,
    wrong_answer,
)
from assets.instructions.starter.rows import LICENCE, Row, Task
from assets.instructions.starter.tasks import TASKS
from assets.instructions.starter.writing import CHAT_SHAPES, SHAPES, Place, to_json, written, written_split
from resources.errors import SultanaError

SPLIT_SHARES = {"reward": 0.05, "early_stopping": 0.05, "test": 0.1}
"""Rows of a split for one row of the corpus, up to a corpus of `FULL_ROWS`."""
FULL_ROWS = 4800
SMALLEST_ROWS, LARGEST_ROWS = 200, 20_000
ATTEMPTS = 400


@dataclass(frozen=True)
class StarterFiles:
    """Where the starter corpus lies."""

    instructions: list[Path]
    splits: dict[str, Path]
    marks: Path  # one planted fault per line; read by no stage
    checks: Path  # what verifies each row that can be read; read by no stage
    licence: str


def starter_paths(folder: Path) -> StarterFiles:
    """The paths of a starter corpus under `folder`, written or not."""
    return StarterFiles(
        instructions=[folder / "instructions" / name for name in SHAPES],
        splits={name: folder / "splits" / f"{name}.jsonl" for name in SPLIT_SHARES},
        marks=folder / "marks" / "marks.jsonl",
        checks=folder / "marks" / "checks.jsonl",
        licence=LICENCE,
    )


def write_starter(
    folder: Path, *, seed: int = 0, rows: int = FULL_ROWS, shares: Mapping[str, float] = SHARES
) -> StarterFiles:
    """Write the corpus under `folder` and say where.

    `rows` counts every row of the instruction files, faulty ones included; the splits come on top, their
    sizes in proportion up to 4,800 rows. `shares` maps a fault of `FAULTS` to its share of the rows.
    SultanaError where `rows` or `shares` is out of bounds.
    """
    if not SMALLEST_ROWS <= rows <= LARGEST_ROWS:
        raise SultanaError(
            f"the starter corpus was asked for {rows} rows",
            f"ask for {SMALLEST_ROWS} to {LARGEST_ROWS}; larger ones would repeat themselves",
            code="setting-out-of-bounds",
        )
    if set(shares) - set(FAULTS) or min(shares.values(), default=0) < 0 or sum(shares.values()) > 0.5:
        raise SultanaError(
            f"the shares of faults are {dict(shares)}",
            f"name only {', '.join(FAULTS)}, with shares from 0 that add up to at most 0.5",
            code="setting-out-of-bounds",
        )
    splits, planted = _rows(seed, rows, shares)
    files = starter_paths(folder)
    for path in (*files.instructions, *files.splits.values(), files.marks):
        path.parent.mkdir(parents=True, exist_ok=True)
    for name, path in files.splits.items():
        path.write_bytes(written_split(splits[name]))
    places: dict[int, Place] = {}
    by_file = _by_file(planted, Draw(seed, "files"))
    for path in files.instructions:
        mine = by_file[path.name]
        data, lines = written([planted[index] for index in mine], path.name)
        path.write_bytes(data)
        places.update(zip(mine, lines, strict=True))
    _write_marks(files, splits["test"], planted, places)
    return files


class _Fresh:
    """Rows that share no prompt and no parameters with any row made before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._used: set[str] = set()

    def row(self, make: Callable[[Task, Draw], Row], part: str, task: Task, index: int) -> Row:
        for attempt in range(ATTEMPTS):
            row = make(task, Draw(self._seed, part, task.name, index, attempt))
            keys = {check.key() for check in row.checks} | {row.prompt.lower()}
            if not keys & self._used:
                self._used |= keys
                return row
        raise SultanaError(
            f"the task {task.name} has no further exercise after {index} rows",
            "ask for a smaller starter corpus",
            code="starter-corpus-exhausted",
        )


def _rows(seed: int, rows: int, shares: Mapping[str, float]) -> tuple[dict[str, list[Row]], list[Planted]]:
    """The rows of each split and those of the corpus, in a drawn order."""
    fresh, tasks = _Fresh(seed), tuple(TASKS.values())
    splits = {}
    for name, share in SPLIT_SHARES.items():
        size = round(share * min(rows, FULL_ROWS))
        made = [fresh.row(benchmark_row, name, tasks[n % len(tasks)], n) for n in range(size)]
        splits[name] = Draw(seed, name, "order").shuffled(made)
    counts = fault_counts(rows, shares)
    copies = sum(counts.get(fault, 0) for fault in ("exact_duplicate", "near_duplicate", "contaminated"))
    clean = [fresh.row(training_row, "train", tasks[n % len(tasks)], n) for n in range(rows - copies)]
    planted = _planted(clean, splits["test"], counts, Draw(seed, "faults"))
    return splits, Draw(seed, "order").shuffled(planted)


def _planted(clean: list[Row], test: list[Row], counts: Mapping[str, int], draw: Draw) -> list[Planted]:
    """The rows with `counts` of each fault: some changed in place, some added. No row is used twice."""
    result: list[Planted] = [Planted(row) for row in clean]
    queue = draw.shuffled(range(len(clean)))
    for fault, count in counts.items():
        if fault == "contaminated":
            continue
        made, passed_over = 0, []
        while made < count:
            if not queue:
                raise SultanaError(
                    f"the starter corpus has too few rows that can show the fault {fault}",
                    "ask for more rows, or for smaller shares of faults",
                    code="starter-corpus-exhausted",
                )
            index = queue.pop()
            planted = _with_fault(clean[index], fault, made, clean, draw)
            if planted is None:
                passed_over.append(index)
                continue
            made += 1
            if planted.twin is None:
                result[index] = planted
            else:
                result.append(planted)
        queue = passed_over + queue
    long_enough = [n for n, row in enumerate(test) if len(row.prompt.split()) >= 12]
    for index in draw.some(long_enough, counts.get("contaminated", 0)):
        row, alike = contaminated(test[index], draw)
        result.append(Planted(row, "contaminated", test_line=index + 1, similarity=round(alike, 4)))
    return result


def _with_fault(row: Row, fault: str, made: int, clean: list[Row], draw: Draw) -> Planted | None:
    """`row` with the fault, or the copy of it that is one; None where the row cannot show it."""
    if fault == "exact_duplicate":
        return Planted(row, fault, twin=row, similarity=1.0)
    if fault == "near_duplicate":
        # One in ten is less alike than any usual threshold, so that a run can show where its own lies.
        edited = near_duplicate(row, draw, 0.5 if made % 10 == 9 else 0.8)
        return Planted(edited[0], fault, twin=row, similarity=round(edited[1], 4)) if edited else None
    changed = _changed(row, fault, clean, draw)
    return Planted(changed, fault) if changed else None


def _changed(row: Row, fault: str, clean: list[Row], draw: Draw) -> Row | None:
    if fault == "wrong_answer":
        return wrong_answer(row, clean, TASKS, draw)
    if fault == "truncated":
        return truncated(row, TASKS, draw)
    if fault == "off_topic":
        return off_topic(row, clean, TASKS, draw)
    return unreadable(row, fault, draw) if fault not in LINE_FAULTS or row.instruction else None


def _by_file(planted: list[Planted], draw: Draw) -> dict[str, list[int]]:
    """Which rows go to which file: chats and damaged lines only where the shape can hold them."""
    files: dict[str, list[int]] = {name: [] for name in SHAPES}
    for index, one in enumerate(planted):
        if one.fault in LINE_FAULTS:
            files["alpaca.jsonl"].append(index)
        else:
            files[draw.weighted(SHAPES if one.row.instruction else CHAT_SHAPES)].append(index)
    return files


def _id(row: Row) -> str:
    return instruction_id([{"role": role, "content": content} for role, content in row.messages])


def _write_marks(
    files: StarterFiles, test: list[Row], planted: list[Planted], places: Mapping[int, Place]
) -> None:
    order = sorted(
        range(len(planted)), key=lambda n: (list(SHAPES).index(places[n].file), places[n].position)
    )
    home = {id(planted[n].row): n for n in order if planted[n].fault is None}
    marks, checks = [], []
    for n in order:
        one, where = planted[n], asdict(places[n])
        readable = one.fault not in ("empty_response", "control_token", *LINE_FAULTS)
        where["instruction_id"] = _id(one.row) if readable else None
        if readable:
            checks.append(
                {
                    **where,
                    "task": one.row.task,
                    "fault": one.fault,
                    "answer": one.row.answer,
                    "checks": [asdict(check) for check in one.row.checks],
                }
            )
        if one.fault is None:
            continue
        other: dict[str, object] | None = None
        if one.twin is not None:
            twin = home[id(one.twin)]
            other = {**asdict(places[twin]), "instruction_id": _id(one.twin)}
        elif one.test_line is not None:
            row = test[one.test_line - 1]
            prompt = [{"role": "user", "content": row.prompt}]
            other = {
                "split": "test",
                "line": one.test_line,
                "example_id": example_id("test", prompt, row.response),
            }
        marks.append({**where, "fault": one.fault, "collides_with": other, "similarity": one.similarity})
    files.marks.write_bytes("".join(to_json(mark) + "\n" for mark in marks).encode())
    files.checks.write_bytes("".join(to_json(check) + "\n" for check in checks).encode())

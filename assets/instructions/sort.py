"""Sorting raw rows into kept, quarantined and dropped ones.

Every raw row ends in exactly one place, and every one that is not kept is a record with its reason:
`retracted` (nothing else is asked of such a row), quarantined (unreadable or invalid), `exact_duplicate` (merged
into the row it names, its origin kept), `contaminated` (shares its n-grams with a benchmark example) or
`near_duplicate`. Contamination is tested before near-duplicates, so that a copy of a test row is never the one
that its twins are merged into.

Rows wait on disk meanwhile: memory holds ids and hashes of them, not texts.
"""

import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from assets.identity import ID_LENGTH, instruction_id
from assets.instructions.contamination import contaminated
from assets.instructions.duplicates import near_duplicates
from assets.instructions.retractions import REASON as RETRACTED
from assets.instructions.retractions import Standing
from assets.instructions.spill import Row, RowsOnDisk
from assets.instructions.text import benchmark_texts, conversation_text
from assets.instructions.validate import normalise, problem_in
from resources.compute.boundary import Compute
from resources.compute.this_machine import THIS_MACHINE
from resources.files import disk_full_explained
from resources.memory import return_unused
from resources.private import mask_private
from resources.progress import Progress
from resources.text import escape_terminal

RAW_TEXT_LIMIT = 200
T = TypeVar("T")
_ORIGIN = ("origin_id", "source", "file", "file_sha256", "position", "licence")


@dataclass(frozen=True)
class Sorted:
    """Rows of INSTRUCTIONS, QUARANTINE and DROPPED_INSTRUCTIONS, each sorted by its key, and read from disk one by one.

    `reasons` counts the quarantined rows by reason, `drops` the dropped ones.
    """

    kept: Sequence[Row]
    quarantined: Sequence[Row]
    dropped: Sequence[Row]
    reasons: Counter[str] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)


def sort_rows(
    raw: Iterable[Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
    *,
    near_duplicate_threshold: float,
    contamination_ngram: int,
    contamination_threshold: float,
    seed: int,
    progress: Progress,
    retractions: Standing | None = None,
    compute: Compute = THIS_MACHINE,
) -> Sorted:
    """Sorts rows of RAW_INSTRUCTIONS against benchmark `examples` (rows of BENCHMARK_SPLITS) and `retractions`.

    Holds some hundred bytes a row in memory; the rows are in files of TMPDIR that go with the result. Raises
    SultanaError where that disk is full.
    """
    with disk_full_explained(Path(tempfile.gettempdir())):
        parts = _Parts()
        for row in raw:
            progress.advance()
            parts.add(row, retractions or Standing())
        groups = _Groups(parts.sound)
        for place in range(len(groups)):
            for origin in groups.later_origins(place):
                parts.drop(origin, groups.ids[place], "exact_duplicate", groups.ids[place], 1.0)
        collisions = contaminated(
            _Made(groups.text, groups.everything),
            groups.ids,
            *benchmark_texts(examples),
            n=contamination_ngram,
            threshold=contamination_threshold,
            compute=compute,
        )
        keep = np.ones(len(groups), dtype=np.bool_)
        for collision in collisions:
            place = bisect_left(groups.ids, collision.instruction_id)
            keep[place] = False
            parts.drop(
                groups.first_origin(place),
                collision.instruction_id,
                *("contaminated", collision.example_id, collision.share),
            )
        clean = groups.everything[keep]
        for duplicate in near_duplicates(
            _Made(groups.text, clean),
            _Made(groups.id, clean),
            threshold=near_duplicate_threshold,
            seed=seed,
            compute=compute,
        ):
            place = bisect_left(groups.ids, duplicate.dropped_id)
            keep[place] = False
            parts.drop(
                groups.first_origin(place),
                duplicate.dropped_id,
                *("near_duplicate", duplicate.kept_id, duplicate.similarity),
            )
        parts.quarantined.sort()
        parts.dropped.sort()
    return_unused()
    return Sorted(
        kept=_Made(groups.row, groups.everything[keep]),
        quarantined=parts.quarantined,
        dropped=parts.dropped,
        reasons=parts.reasons,
        drops=parts.drops,
    )


class _Parts:
    """Where raw rows go: sound ones by (instruction id, origin id), the others by origin id."""

    def __init__(self) -> None:
        self.sound = RowsOnDisk(2 * ID_LENGTH)
        self.quarantined = RowsOnDisk(ID_LENGTH)
        self.dropped = RowsOnDisk(ID_LENGTH)
        self.reasons: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()

    def add(self, row: Mapping[str, Any], retractions: Standing) -> None:
        if retraction := retractions.of_origin(row["instruction_id"], row):
            self.drop(row, row["instruction_id"] or "", RETRACTED, retraction[0], 1.0)
            return
        if row["problem"]:
            self.quarantine(row, row["problem"], row["problem_detail"], row["raw_text"])
            return
        messages = normalise(row["messages"])
        if problem := problem_in(messages):
            text = escape_terminal(mask_private(conversation_text(row["messages"])), RAW_TEXT_LIMIT)
            self.quarantine(row, *problem, text)
            return
        self.sound.append(
            instruction_id(messages).ljust(ID_LENGTH) + row["origin_id"],
            {
                "messages": messages,
                "origin": {name: row[name] for name in _ORIGIN},
                "task": row["task"],
                "scores": row.get("scores"),
            },
        )

    def quarantine(self, row: Mapping[str, Any], reason: str, detail: str, raw_text: str) -> None:
        self.reasons[reason] += 1
        kept = {name: row[name] for name in ("origin_id", "source", "file", "file_sha256", "position")}
        self.quarantined.append(
            row["origin_id"], {**kept, "reason": reason, "detail": detail, "raw_text": raw_text}
        )

    def drop(
        self, origin: Mapping[str, Any], row_id: str, reason: str, collides_with: str, similarity: float
    ) -> None:
        self.drops[reason] += 1
        self.dropped.append(
            origin["origin_id"],
            {
                "origin_id": origin["origin_id"],
                "instruction_id": row_id,
                "reason": reason,
                "collides_with": collides_with,
                "similarity": float(similarity),
                "source": origin["source"],
                "file": origin["file"],
                "position": origin["position"],
            },
        )


class _Groups:
    """Sound rows of equal content, merged. The smallest origin id stands for the row, so that the order in which
    sources are read changes nothing.
    """

    def __init__(self, sound: RowsOnDisk) -> None:
        self._sound = sound
        keys = sound.sort().view(f"S{ID_LENGTH}").reshape(len(sound), 2)[:, 0]
        new = np.ones(len(sound), dtype=np.bool_)
        new[1:] = keys[1:] != keys[:-1]
        self._starts = np.append(np.flatnonzero(new), len(sound))
        # As bytes one after the other: a list of strings takes three times as much.
        self._ids = keys[self._starts[:-1]]
        self.everything = np.arange(len(self._ids))
        self.ids = _Made(self.id, self.everything)
        """The ids of the merged rows, sorted."""

    def __len__(self) -> int:
        return len(self._ids)

    def id(self, place: int) -> str:
        return bytes(self._ids[place]).decode()

    def text(self, place: int) -> str:
        """In which contamination and duplicates are looked for."""
        return conversation_text(self._sound[int(self._starts[place])]["messages"])

    def first_origin(self, place: int) -> Mapping[str, Any]:
        origin: Mapping[str, Any] = self._sound[int(self._starts[place])]["origin"]
        return origin

    def later_origins(self, place: int) -> Iterator[Mapping[str, Any]]:
        for row in range(int(self._starts[place]) + 1, int(self._starts[place + 1])):
            yield self._sound[row]["origin"]

    def row(self, place: int) -> Row:
        """The row of INSTRUCTIONS."""
        rows = self._sound[int(self._starts[place]) : int(self._starts[place + 1])]
        return {
            "instruction_id": self.id(place),
            "messages": rows[0]["messages"],
            "origins": [row["origin"] for row in rows],
            "task": next((row["task"] for row in rows if row["task"]), None),
            "scores": _first_scores([row["scores"] for row in rows]),
        }


class _Made(Sequence[T]):
    """What is made of each of some places in a table, when it is asked for."""

    def __init__(self, make: Callable[[int], T], places: npt.NDArray[np.int64]) -> None:
        self._make, self._places = make, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self._make(int(one)) for one in self._places[place]]
        return self._make(int(self._places[place]))


def _first_scores(of_origins: Sequence[Sequence[Mapping[str, Any]] | None]) -> list[dict[str, Any]] | None:
    """Each score as the first origin that has it gives it."""
    found: dict[str, float] = {}
    for scores in of_origins:
        for score in scores or ():
            found.setdefault(score["name"], score["value"])
    return [{"name": name, "value": found[name]} for name in sorted(found)] or None

"""Embedding what has no vector yet.

What is embedded is the instruction: the user's turns, as MDIT (section 3) and RAISE (section 3.4)
cluster instructions. The whole conversation is the other choice; a table of vectors is of one of the
two, so that choice belongs to the table's identity beside the embedder's fingerprint.

Texts and vectors do not pass through the process that asks for them: who embeds a part reads its rows and
writes its vectors, and gets and gives their places, keys and hashes alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from resources.compute.alike import check_model
from resources.compute.boundary import Compute, in_order
from resources.compute.this_machine import THIS_MACHINE
from resources.table_folder import TableFolder
from resources.table_fragments import Fragments, Target, Written, in_portions, write_rows
from resources.table_parts import TablePart, read_part
from resources.table_refs import TableRef

if TYPE_CHECKING:
    from resources.embedder import SentenceEmbedder

BATCH_ROWS = 8192

COMMITTED_SHARE = 16
"""A commit reads the key and hash of every row that the table has. So where it has many, a commit has one row for so
many of them: the work of all commits is then a fixed multiple of the rows, and a killed run loses a sixteenth."""


def text_to_embed(messages: Sequence[Mapping[str, str]], text: str = "instruction") -> str:
    """The text that stands for a conversation: its user turns, or all turns but the system's.

    `text` is "instruction" or "conversation"; anything else raises ValueError.
    """
    if text not in ("instruction", "conversation"):
        raise ValueError(f"text is 'instruction' or 'conversation', not {text!r}")
    roles = ("user",) if text == "instruction" else ("user", "assistant")
    return "\n".join(turn["content"] for turn in messages if turn["role"] in roles)


@dataclass(frozen=True)
class _Embedding:
    """Builds what embeds a part of the instructions. Progress within a part is seen in this process only."""

    embedder: "SentenceEmbedder"
    fingerprint: str
    text: str
    target: Target
    on_progress: Callable[[int], object] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Embedding, (self.embedder, self.fingerprint, self.text, self.target)

    def __call__(self) -> Callable[[TablePart], Written]:
        check_model(self.embedder, self.fingerprint)
        return self.embed

    def embed(self, part: TablePart) -> Written:
        """Writes the vectors of a part's rows. A text that occurs more than once is embedded once."""
        rows = read_part(part)
        texts = [text_to_embed(messages, self.text) for messages in rows["messages"].to_pylist()]
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        found = self.embedder.embed(list(distinct), on_progress=self.on_progress)
        flat = pa.array(found[[distinct[text] for text in texts]].reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, self.embedder.dimension)
        ids = rows["instruction_id"].combine_chunks()
        batch = pa.RecordBatch.from_arrays([ids, vectors], schema=self.target.schema)
        return write_rows(self.target, [batch])


def missing_rows(ids: pa.ChunkedArray, embedded: pa.Array) -> npt.NDArray[np.int64]:
    """The places (n,) of the rows of `ids` that are not in `embedded`, in the order of their ids."""
    places = np.flatnonzero(~pc.is_in(ids, value_set=embedded).to_numpy())
    order = pc.sort_indices(ids.take(pa.array(places))).to_numpy()
    found: npt.NDArray[np.int64] = places[order]
    return found


def embed_rows(
    folder: TableFolder,
    instructions: TableRef,
    places: npt.NDArray[np.int64],
    target: Target,
    embedder: "SentenceEmbedder",
    *,
    text: str = "instruction",
    batch_rows: int = BATCH_ROWS,
    on_progress: Callable[[int], object] | None = None,
    compute: Compute = THIS_MACHINE,
) -> Iterator[Written]:
    """Vectors of the rows of `instructions`, whose table is `folder`, at these `places`, in that order.

    Who embeds reads the texts and writes the vectors to `target`, `batch_rows` rows a part, the last one fewer; the
    caller commits them. `text` is as in `text_to_embed`. `on_progress` gets the number of rows done since the last
    time.
    """
    if not len(places):
        return
    parts = [
        TablePart(
            folder,
            instructions,
            places[start : start + batch_rows],
            ("instruction_id", "messages"),
        )
        for start in range(0, len(places), batch_rows)
    ]
    counted = 0

    def count(rows: int) -> None:
        nonlocal counted
        counted += rows
        if on_progress and rows:
            on_progress(rows)

    embedding = _Embedding(embedder, embedder.fingerprint(), text, target, count)
    for written in in_order(compute, embedding, parts):
        count(written.rows - counted)
        counted = 0
        yield written


def batch_rows_of(commit_rows: int) -> int:
    """Rows of a part, at most `BATCH_ROWS`, of which a whole number makes a commit of `commit_rows`."""
    return commit_rows // -(-commit_rows // BATCH_ROWS)


def in_commits(
    folder: TableFolder, parts: Iterable[Written], commit_rows: int, held: int
) -> Iterator[Fragments]:
    """The parts of each commit, for a table in `folder` that has `held` rows before: see `COMMITTED_SHARE`.

    A run that is killed loses at most the rows of one commit.
    """
    whole = batch_rows_of(commit_rows) * -(-commit_rows // BATCH_ROWS)

    def is_enough(rows: int, before: int) -> bool:
        return rows >= max(whole, (held + before) // COMMITTED_SHARE)

    return in_portions(folder, parts, is_enough)

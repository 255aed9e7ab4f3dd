"""Embedding what has no vector yet.

What is embedded is the instruction: the user's turns, as MDIT (section 3) and RAISE (section 3.4)
cluster instructions. The whole conversation is the other choice; a table of vectors is of one of the
two, so that choice belongs to the table's identity beside the embedder's fingerprint.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.records import embeddings_record
from resources.compute.alike import check_model
from resources.compute.boundary import Compute, in_order
from resources.compute.this_machine import THIS_MACHINE

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
    """Builds what embeds a list of texts. Progress within a list is seen in this process only."""

    embedder: "SentenceEmbedder"
    fingerprint: str
    on_progress: Callable[[int], object] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Embedding, (self.embedder, self.fingerprint)

    def __call__(self) -> Callable[[list[str]], npt.NDArray[np.float32]]:
        check_model(self.embedder, self.fingerprint)
        return partial(self.embedder.embed, on_progress=self.on_progress)


def embed_missing(
    texts_by_id: Mapping[str, str],
    existing_ids: set[str] | frozenset[str],
    embedder: "SentenceEmbedder",
    batch_rows: int = BATCH_ROWS,
    on_progress: Callable[[int], object] | None = None,
    compute: Compute = THIS_MACHINE,
) -> Iterator[pa.RecordBatch]:
    """Vectors of the rows whose id is not in `existing_ids`, in the order of their ids.

    Batches have the schema of `embeddings_record` and `batch_rows` rows, the last one fewer. Texts that
    occur more than once in a batch are embedded once. `on_progress` gets the number of rows done since
    the last time.
    """
    schema = embeddings_record("", embedder.dimension).schema
    missing = sorted(set(texts_by_id) - existing_ids)
    if not missing:
        return
    batches = [missing[start : start + batch_rows] for start in range(0, len(missing), batch_rows)]
    counted = 0

    def count(rows: int) -> None:
        nonlocal counted
        counted += rows
        if on_progress and rows:
            on_progress(rows)

    embedding = _Embedding(embedder, embedder.fingerprint(), count)
    parts = (list(dict.fromkeys(texts_by_id[one] for one in ids)) for ids in batches)
    for ids, found in zip(batches, in_order(compute, embedding, parts), strict=True):
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts_by_id[one] for one in ids))}
        vectors = found[[distinct[texts_by_id[one]] for one in ids]]
        count(len(ids) - counted)
        counted = 0
        flat = pa.array(vectors.reshape(-1))
        yield pa.RecordBatch.from_arrays(
            [pa.array(ids, pa.string()), pa.FixedSizeListArray.from_arrays(flat, embedder.dimension)],
            schema=schema,
        )


def batch_rows_of(commit_rows: int) -> int:
    """Rows of a batch, at most `BATCH_ROWS`, of which a whole number makes a commit of `commit_rows`."""
    return commit_rows // -(-commit_rows // BATCH_ROWS)


def in_commits(
    batches: Iterator[pa.RecordBatch], commit_rows: int, held: int
) -> Iterator[list[pa.RecordBatch]]:
    """The batches of each commit, for a table that has `held` rows before: see `COMMITTED_SHARE`.

    A run that is killed loses at most the rows of one commit.
    """
    whole = batch_rows_of(commit_rows) * -(-commit_rows // BATCH_ROWS)
    part: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        part.append(batch)
        rows += len(batch)
        if rows >= max(whole, held // COMMITTED_SHARE):
            yield part
            held, part, rows = held + rows, [], 0
    if part:
        yield part

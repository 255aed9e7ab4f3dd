"""Embedding what has no vector yet.

What is embedded is the instruction: the user's turns, as MDIT (section 3) and RAISE (section 3.4)
cluster instructions. The whole conversation is the other choice; a table of vectors is of one of the
two, so that choice belongs to the table's identity beside the embedder's fingerprint.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from assets.records import embeddings_record

if TYPE_CHECKING:
    from resources.embedder import SentenceEmbedder


def text_to_embed(messages: Sequence[Mapping[str, str]], text: str = "instruction") -> str:
    """The text that stands for a conversation: its user turns, or all turns but the system's.

    `text` is "instruction" or "conversation"; anything else raises ValueError.
    """
    if text not in ("instruction", "conversation"):
        raise ValueError(f"text is 'instruction' or 'conversation', not {text!r}")
    roles = ("user",) if text == "instruction" else ("user", "assistant")
    return "\n".join(turn["content"] for turn in messages if turn["role"] in roles)


def embed_missing(
    texts_by_id: Mapping[str, str],
    existing_ids: set[str] | frozenset[str],
    embedder: "SentenceEmbedder",
    batch_rows: int = 8192,
    on_progress: Callable[[int], object] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Vectors of the rows whose id is not in `existing_ids`, in the order of their ids.

    Batches have the schema of `embeddings_record` and `batch_rows` rows, the last one fewer. Texts that
    occur more than once in a batch are embedded once. `on_progress` gets the number of rows done since
    the last time.
    """
    schema = embeddings_record("", embedder.dimension).schema
    missing = sorted(set(texts_by_id) - existing_ids)
    for start in range(0, len(missing), batch_rows):
        ids = missing[start : start + batch_rows]
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts_by_id[one] for one in ids))}
        vectors = embedder.embed(list(distinct), on_progress)[[distinct[texts_by_id[one]] for one in ids]]
        if on_progress and len(distinct) < len(ids):
            on_progress(len(ids) - len(distinct))
        flat = pa.array(vectors.reshape(-1))
        yield pa.RecordBatch.from_arrays(
            [pa.array(ids, pa.string()), pa.FixedSizeListArray.from_arrays(flat, embedder.dimension)],
            schema=schema,
        )

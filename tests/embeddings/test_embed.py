"""Incremental embedding: only what is missing, the same vectors however it is split."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from assets.embeddings.embed import BATCH_ROWS, batch_rows_of, embed_missing, in_commits, text_to_embed
from assets.records import embeddings_record
from resources.embedder import SentenceEmbedder

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a fruit."},
    {"role": "assistant", "content": "Apple."},
    {"role": "user", "content": "Another."},
    {"role": "assistant", "content": "Pear."},
]


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    return SentenceEmbedder(device="cpu", batch_tokens=512)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {f"{number * 7 % 30:032x}": f"Name fruit {number % 20}, please." for number in range(30)}


def vectors(batches: list[pa.RecordBatch]) -> dict[str, list[float]]:
    return {row["instruction_id"]: row["vector"] for batch in batches for row in batch.to_pylist()}


def test_only_missing_rows_are_embedded(embedder: SentenceEmbedder, texts: dict[str, str]) -> None:
    done: list[int] = []
    existing = set(list(texts)[:12])
    batches = list(embed_missing(texts, existing, embedder, batch_rows=7, on_progress=done.append))
    assert [batch.num_rows for batch in batches] == [7, 7, 4]
    assert all(batch.schema == embeddings_record("", 384).schema for batch in batches)
    names = [name for batch in batches for name in batch["instruction_id"].to_pylist()]
    assert names == sorted(set(texts) - existing)
    assert sum(done) == 18


def test_batches_change_no_vector(embedder: SentenceEmbedder, texts: dict[str, str]) -> None:
    whole = vectors(list(embed_missing(texts, set(), embedder)))
    parts = vectors(list(embed_missing(dict(reversed(texts.items())), set(), embedder, batch_rows=4)))
    assert parts == whole
    np.testing.assert_array_equal(whole["0" * 32], embedder.embed([texts["0" * 32]])[0])


def test_nothing_missing_gives_no_batch(embedder: SentenceEmbedder, texts: dict[str, str]) -> None:
    assert list(embed_missing(texts, set(texts), embedder)) == []


def batches_of(rows: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
    ids = pa.array([str(number) for number in range(rows)])
    table = pa.table({"instruction_id": ids})
    yield from table.to_batches(max_chunksize=batch_rows)


@pytest.mark.parametrize("commit_rows", [100, 8192, 20_000, 50_000])
def test_a_commit_has_the_rows_asked_for(commit_rows: int) -> None:
    size = batch_rows_of(commit_rows)
    assert 1 <= size <= BATCH_ROWS
    parts = list(in_commits(batches_of(3 * commit_rows, size), commit_rows, held=0))
    rows = [sum(len(batch) for batch in part) for part in parts]
    assert sum(rows) == 3 * commit_rows
    assert all(commit_rows - size < one <= commit_rows for one in rows[:-1])


def test_commits_grow_with_the_table_so_that_their_work_stays_linear() -> None:
    """Each commit reads what is there: over all of them that is a small multiple of the rows."""
    read = {}
    for total in (200_000, 800_000):
        held, read[total] = 0, 0
        for part in in_commits(batches_of(total, batch_rows_of(1000)), 1000, held=0):
            held += sum(len(batch) for batch in part)
            read[total] += held
        assert held == total
    assert read[800_000] < 20 * 800_000
    assert read[800_000] < 1.2 * 4 * read[200_000]
    (first, *_) = in_commits(batches_of(10_000, 1000), 1000, held=64_000)
    assert sum(len(batch) for batch in first) == 4000


def test_text_is_the_user_turns_or_the_conversation() -> None:
    assert text_to_embed(MESSAGES) == "Name a fruit.\nAnother."
    assert text_to_embed(MESSAGES, "conversation") == "Name a fruit.\nApple.\nAnother.\nPear."
    with pytest.raises(ValueError, match="response"):
        text_to_embed(MESSAGES, "response")

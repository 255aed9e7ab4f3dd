"""Incremental embedding: only what is missing, the same vectors however it is split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from assets.embeddings.embed import (
    BATCH_ROWS,
    batch_rows_of,
    embed_rows,
    in_commits,
    missing_rows,
    text_to_embed,
)
from assets.records import INSTRUCTIONS, embeddings_record
from resources.embedder import SentenceEmbedder
from resources.row_hashes import HASH_FIELD
from resources.table_folder import LocalFolder
from resources.table_fragments import Fragments, Written
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

Instructions = tuple[LanceTables, TableRef]

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


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]) -> Instructions:
    """A table of these texts, in no order of their ids."""
    tables = LanceTables(tmp_path_factory.mktemp("store"))
    rows = [
        {
            "instruction_id": name,
            "task": None,
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}],
            "origins": [],
            "scores": None,
        }
        for name, text in texts.items()
    ]
    table = pa.Table.from_pylist(rows, schema=INSTRUCTIONS.schema)
    return tables, tables.write(
        INSTRUCTIONS, table, mode="overwrite", provenance=Provenance("run", "instructions", "1")
    )


def embedded(
    instructions: Instructions, embedder: SentenceEmbedder, existing: set[str], name: str, **settings: Any
) -> tuple[list[int], dict[str, list[float]]]:
    """The rows of each part, and what was committed, by id in the order of the table."""
    tables, ref = instructions
    record = embeddings_record(name, embedder.dimension)
    ids = tables.read(ref, columns=["instruction_id"])["instruction_id"]
    missing = missing_rows(ids, pa.array(sorted(existing), pa.string()))
    with tables.fragments(record) as target:
        parts = list(
            embed_rows(tables.folder(ref.table), ref, missing, target, embedder, batch_rows=7, **settings)
        )
        if not parts:
            return [], {}
        made = tables.write(
            record, Fragments(parts), mode="overwrite", provenance=Provenance("run", "embeddings", name)
        )
    rows = tables.read(made)
    assert rows.schema.equals(record.schema)
    return [part.rows for part in parts], {row["instruction_id"]: row["vector"] for row in rows.to_pylist()}


def test_only_missing_rows_are_embedded(
    instructions: Instructions, embedder: SentenceEmbedder, texts: dict[str, str]
) -> None:
    done: list[int] = []
    existing = set(list(texts)[:12])
    parts, found = embedded(instructions, embedder, existing, "some", on_progress=done.append)
    assert parts == [7, 7, 4] and sum(done) == 18
    assert list(found) == sorted(set(texts) - existing)


def test_parts_change_no_vector(
    instructions: Instructions, embedder: SentenceEmbedder, texts: dict[str, str]
) -> None:
    _, found = embedded(instructions, embedder, set(), "all")
    assert list(found) == sorted(texts)
    whole = embedder.embed([texts[name] for name in found])
    np.testing.assert_array_equal(np.array(list(found.values()), np.float32), whole)


def test_nothing_missing_gives_no_part(
    instructions: Instructions, embedder: SentenceEmbedder, texts: dict[str, str]
) -> None:
    assert embedded(instructions, embedder, set(texts), "none") == ([], {})


NOWHERE = LocalFolder(Path("nowhere"))


def parts_of(rows: int, part_rows: int) -> Iterator[Written]:
    """Parts with so many keys, and no file."""
    hashes = pa.chunked_array([], HASH_FIELD.type)
    for start in range(0, rows, part_rows):
        keys = pa.chunked_array([[str(one) for one in range(start, min(start + part_rows, rows))]])
        yield Written((), keys, hashes, ())


@pytest.mark.parametrize("commit_rows", [100, 8192, 20_000, 50_000])
def test_a_commit_has_the_rows_asked_for(commit_rows: int) -> None:
    size = batch_rows_of(commit_rows)
    assert 1 <= size <= BATCH_ROWS
    rows = [one.rows for one in in_commits(NOWHERE, parts_of(3 * commit_rows, size), commit_rows, held=0)]
    assert sum(rows) == 3 * commit_rows
    assert all(commit_rows - size < one <= commit_rows for one in rows[:-1])


def test_commits_grow_with_the_table_so_that_their_work_stays_linear() -> None:
    """Each commit reads what is there: over all of them that is a small multiple of the rows."""
    read = {}
    for total in (200_000, 800_000):
        held, read[total] = 0, 0
        for portion in in_commits(NOWHERE, parts_of(total, batch_rows_of(1000)), 1000, held=0):
            held += portion.rows
            read[total] += held
        assert held == total
    assert read[800_000] < 20 * 800_000
    assert read[800_000] < 1.2 * 4 * read[200_000]
    (first, *_) = in_commits(NOWHERE, parts_of(10_000, 1000), 1000, held=64_000)
    assert first.rows == 4000


def test_text_is_the_user_turns_or_the_conversation() -> None:
    assert text_to_embed(MESSAGES) == "Name a fruit.\nAnother."
    assert text_to_embed(MESSAGES, "conversation") == "Name a fruit.\nApple.\nAnother.\nPear."
    with pytest.raises(ValueError, match="response"):
        text_to_embed(MESSAGES, "response")

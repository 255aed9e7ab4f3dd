"""Which rows hold a text, exactly or nearly: found by words and by meaning, told apart by two measures.

A row is compared by its whole conversation, its prompt, its response and each of its messages; what fits best
counts. The Jaccard index of word 5-grams says how much of the wording is shared, the cosine of embeddings how
alike the meanings are. Rows that could not be read have only the text that was kept of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from assets.embeddings.embed import text_to_embed
from assets.identity import canonical_text, instruction_id
from assets.instructions.duplicates import SHINGLE_WORDS, compared
from assets.instructions.rows import Limits, RowProblem
from assets.instructions.shapes import to_conversation
from assets.instructions.shingles import Vocabulary, shingles, words
from assets.instructions.text import conversation_text
from resources.errors import SultanaError
from resources.table_indices import is_searched
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import id_filter

CANDIDATES = 256
"""Rows taken from each search, of which the most alike are told."""

MOST_WORDS = 24
"""Words of a text that rows are searched for: its longest, which are its rarest."""

COMPARED_MATCHES = 40
"""Rows of each search whose embeddings are compared with that of the text."""

SHOWN_MATCHES = 20
SNIPPET_CHARACTERS = 160
TEXT_COLUMN = "messages.content"
_COLUMNS = ["origin_id", "instruction_id", "source", "file", "position", "messages", "raw_text"]

Vector = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vector]
"""Texts -> unit vectors (texts, dimension)."""


@dataclass(frozen=True)
class Sought:
    """A text to look for; `instruction_id` where it is a whole conversation, given as a row of a source."""

    text: str
    messages: tuple[Mapping[str, str], ...] = ()
    instruction_id: str | None = None


@dataclass(frozen=True)
class Vectors:
    """Where the vectors of the instructions are, how their texts are embedded, and by what."""

    table: TableRef
    text: str
    embed: Embed


@dataclass(frozen=True)
class Match:
    """A row that holds the text, or one like it. `cosine` is None where nothing was embedded."""

    origin_id: str
    instruction_id: str | None
    exact: bool
    part: str  # of the row: conversation, prompt, response, message N, or unreadable row
    jaccard: float
    cosine: float | None
    snippet: str
    source: str
    file: str
    position: int
    places: int = 1  # in the sources where the same conversation stands
    messages: tuple[Mapping[str, str], ...] = field(default=(), repr=False)

    @property
    def id(self) -> str:
        """What `sultana trace` takes."""
        return self.instruction_id or self.origin_id

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("instruction_id", "origin_id", "exact", "part", "jaccard", "cosine", "snippet", "source")
        shown = {name: getattr(self, name) for name in (*names, "file", "position", "places")}
        return {"id": self.id, **shown}


def sought(text: str) -> Sought:
    """What a text asks for. A JSON row of a known shape, or a list of messages, is a whole conversation.

    Raises SultanaError where the text holds nothing to look for.
    """
    if messages := _conversation(text):
        return Sought(conversation_text(messages), tuple(messages), instruction_id(messages))
    if not (found := canonical_text(text)):
        raise SultanaError(
            "The text to look for is empty", "Give the words of a prompt or a response", code="text-empty"
        )
    return Sought(found)


def _conversation(text: str) -> list[dict[str, str]]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    value = {"messages": value} if isinstance(value, list) else value
    if not isinstance(value, dict) or len(text.encode()) > Limits.row_bytes:
        return []
    try:
        return [dict(turn) for turn in to_conversation(value).messages]
    except RowProblem:  # JSON that is no row: a text like any other
        return []


def search(
    tables: LanceTables, raw: TableRef, wanted: Sought, vectors: Vectors | None
) -> tuple[list[Match], dict[str, Any]]:
    """The rows of one version of RAW_INSTRUCTIONS that are most like the text, best first, and how they were found.

    Rows that hold the text exactly come first, the others by the sum of Jaccard index and cosine. A conversation
    that stands in several places is one match, of its first place.
    """
    indexed = is_searched(tables.open(raw), TEXT_COLUMN)
    found = list(_unreadable(tables, raw))
    found += _rows(tables, raw, "instruction_id", [wanted.instruction_id] if wanted.instruction_id else [])
    worded = _by_index(tables, raw, wanted.text) if indexed else []
    # The index holds no word of a text that is written without spaces, nor one of more than 40 letters.
    read_through = not worded
    worded = worded or _by_scan(tables, raw, wanted.text)
    found += _rows(tables, raw, "origin_id", worded)
    best = _ranked(_compared(wanted, found))[:COMPARED_MATCHES]
    if vectors is not None:
        asked = vectors.embed([text_to_embed(wanted.messages, vectors.text) or wanted.text])[0]
        near = _rows(tables, raw, "instruction_id", _by_vector(tables, vectors, asked))
        known = {one.id for one in best}
        best += [one for one in _compared(wanted, near) if one.id not in known]
        best = _ranked(_with_cosine(tables, vectors, asked, best))
    how = {
        "raw_instructions": raw.version,
        "rows": raw.rows,
        "words": "every row read" if read_through else "full-text index",
        "vectors": f"every vector of {vectors.table.table} version {vectors.table.version}"
        if vectors
        else None,
    }
    return best[:SHOWN_MATCHES], how


def _rows(tables: LanceTables, raw: TableRef, column: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    wanted = sorted(set(ids))
    if not wanted:
        return []
    rows: list[dict[str, Any]] = tables.read(raw, _COLUMNS, id_filter(column, wanted)).to_pylist()
    return rows


def _unreadable(tables: LanceTables, raw: TableRef) -> Iterator[dict[str, Any]]:
    for batch in tables.batches(raw, _COLUMNS, "problem IS NOT NULL"):
        yield from batch.to_pylist()


def _search_words(text: str) -> list[str]:
    return sorted(set(words(text)), key=lambda word: (-len(word), word))[:MOST_WORDS]


def _by_index(tables: LanceTables, raw: TableRef, text: str) -> list[str]:
    """Origins of the rows that rank highest for the words by BM25."""
    from lance.query import MatchQuery

    query = MatchQuery(" ".join(_search_words(text)), TEXT_COLUMN)
    scanned = tables.open(raw).to_table(
        columns=["origin_id", "_score"], full_text_query=query, limit=CANDIDATES
    )
    ids: list[str] = scanned["origin_id"].to_pylist()
    return ids


def _by_vector(tables: LanceTables, vectors: Vectors, asked: Vector) -> list[str]:
    """Instructions whose vectors are nearest."""
    found = tables.open(vectors.table).to_table(
        columns=["instruction_id", "_distance"],
        nearest={"column": "vector", "q": asked, "k": COMPARED_MATCHES, "metric": "cosine"},
    )
    ids: list[str] = found["instruction_id"].to_pylist()
    return ids


def _by_scan(tables: LanceTables, raw: TableRef, text: str) -> list[str]:
    """The same by reading every row: one with the text as a message first, then those with the most of its words
    and of the nearest length."""
    wanted = _search_words(text)
    best: list[tuple[int, int, str]] = []
    for batch in tables.batches(raw, ["origin_id", "messages"]):
        messages = batch["messages"]
        contents = pc.struct_field(messages.values, "content")
        whole = pc.binary_join(pa.ListArray.from_arrays(messages.offsets, contents), "\n")
        lower = pc.utf8_lower(whole)
        counts = np.zeros(len(batch), dtype=np.int64)
        for word in wanted:
            counts += pc.match_substring(lower, word).to_numpy(zero_copy_only=False)
        same = pc.equal(contents, text).to_numpy(zero_copy_only=False)
        starts = messages.offsets.to_numpy()
        before = np.concatenate(([0], np.cumsum(same)))
        counts += (before[starts[1:]] - before[starts[:-1]] > 0) * (len(wanted) + 1)
        apart = np.abs(pc.utf8_length(whole).to_numpy(zero_copy_only=False) - len(text))
        order = np.lexsort((apart, -counts))[:CANDIDATES]
        names = batch["origin_id"]
        best += [
            (-int(counts[place]), int(apart[place]), names[int(place)].as_py())
            for place in order
            if counts[place]
        ]
        best = sorted(best)[:CANDIDATES]
    return [name for _, _, name in best]


def _parts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    messages = row["messages"]
    if messages is None:
        yield "unreadable row", row["raw_text"] or ""
        return
    yield "conversation", conversation_text(messages)
    for name, role in (("prompt", "user"), ("response", "assistant")):
        yield name, "\n".join(turn["content"] for turn in messages if turn["role"] == role)
    for place, turn in enumerate(messages, 1):
        yield f"message {place}", turn["content"]


def _compared(wanted: Sought, rows: Iterable[Mapping[str, Any]]) -> list[Match]:
    """One match for each conversation, and for each row without one, by its best part."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["instruction_id"] or row["origin_id"], []).append(row)
    parts = [(key, *part) for key, group in grouped.items() for part in _parts(group[0])]
    similar = _jaccard(wanted.text, [text for _, _, text in parts])
    best: dict[str, Match] = {}
    for (key, part, text), jaccard in zip(parts, similar, strict=True):
        first = min(grouped[key], key=lambda row: (row["file"], row["position"]))
        exact = canonical_text(text) == wanted.text
        if part == "conversation":
            exact = exact or (first["instruction_id"] or "") == wanted.instruction_id
        match = Match(
            origin_id=first["origin_id"],
            instruction_id=first["instruction_id"],
            exact=exact,
            part=part,
            jaccard=1.0 if exact else jaccard,
            cosine=None,
            snippet=text[:SNIPPET_CHARACTERS],
            source=first["source"],
            file=first["file"],
            position=first["position"],
            places=len({row["origin_id"] for row in grouped[key]}),
            messages=tuple(first["messages"] or ()),
        )
        if key not in best or (match.exact, match.jaccard) > (best[key].exact, best[key].jaccard):
            best[key] = match
    return list(best.values())


def _jaccard(text: str, others: Sequence[str]) -> list[float]:
    """The Jaccard index of the word 5-grams of `text` and of each other text; of characters in short ones."""
    lists = [compared(words(one), SHINGLE_WORDS) for one in (text, *others)]
    found = shingles(lists, SHINGLE_WORDS, Vocabulary())
    sets = [np.unique(found.hashes[a:b]) for a, b in zip(found.offsets, found.offsets[1:], strict=False)]
    ours = sets[0]
    similar = []
    for theirs in sets[1:]:
        shared = len(np.intersect1d(ours, theirs, assume_unique=True))
        similar.append(shared / max(len(ours) + len(theirs) - shared, 1))
    return similar


def _with_cosine(
    tables: LanceTables, vectors: Vectors, asked: Vector, matches: Sequence[Match]
) -> list[Match]:
    """With the cosine to the text. Rows that were dropped or cannot be read have no vector yet."""
    ids = sorted({one.instruction_id for one in matches if one.instruction_id})
    stored = tables.read(vectors.table, ["instruction_id", "vector"], id_filter("instruction_id", ids))
    known = dict(zip(stored["instruction_id"].to_pylist(), stored["vector"].to_pylist(), strict=True))
    texts = {one.id: text_to_embed(one.messages, vectors.text) or one.snippet for one in matches}
    missing = [one.id for one in matches if one.id not in known]
    known |= dict(zip(missing, vectors.embed([texts[name] for name in missing]), strict=True))
    return [replace(one, cosine=float(np.dot(asked, known[one.id]))) for one in matches]


def _ranked(matches: Iterable[Match]) -> list[Match]:
    return sorted(
        matches,
        key=lambda one: (not one.exact, -one.jaccard - (one.cosine or 0.0), one.file, one.position),
    )

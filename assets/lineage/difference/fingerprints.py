"""Rows as numbers: a hash of some columns of each row, a batch at a time, so that two versions can be compared."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NOTHING = np.uint64(0x5851F42D4C957F2D)
_HASHES = frozenset({"origin_id"})
"""Fields that are hashes of what stands beside them and of the row's content: each is another text to hash."""


def fingerprints(batch: pa.RecordBatch, columns: Sequence[str]) -> Words:
    """A hash of 64 bits of the named columns of each row (n,): text, numbers, booleans, lists and structs of them.

    Equal rows have equal ones, whatever the batch; different ones with a chance of some 2^-64.
    """
    found = np.full(batch.num_rows, _NOTHING)
    for name in columns:
        found = _mixed(found ^ _of(batch[name]))
    return found


def _of(values: pa.Array) -> Words:
    kind = values.type
    if pa.types.is_list(kind):
        found = _of_lists(values)
    elif pa.types.is_struct(kind):
        found = np.full(len(values), _NOTHING)
        for place in range(kind.num_fields):
            if kind.field(place).name not in _HASHES:
                found = _mixed(found ^ _of(values.field(place)))
    elif pa.types.is_string(kind):
        found = _of_texts(values)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        found = _mixed(pc.fill_null(values.cast(pa.int64()), 0).to_numpy().view(np.uint64) + _GOLDEN)
    else:
        found = _mixed(pc.fill_null(values.cast(pa.float64()), 0.0).to_numpy().view(np.uint64) + _GOLDEN)
    if values.null_count:
        found = np.where(values.is_null().to_numpy(zero_copy_only=False), _NOTHING, found)
    return found


def _of_texts(values: pa.Array) -> Words:
    """Each distinct text of the batch is hashed once: what repeats (tasks, sources, files) costs nothing."""
    encoded = pc.fill_null(values, "").dictionary_encode()
    hashes = b"".join(
        hashlib.blake2b(text.encode(), digest_size=8).digest() for text in encoded.dictionary.to_pylist()
    )
    return np.frombuffer(hashes, np.uint64)[encoded.indices.to_numpy()]


def _of_lists(values: pa.Array) -> Words:
    """Elements count with their place in the list, and the list with its length."""
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy().astype(np.int64)
    elements = _of(values.flatten())
    ends = np.cumsum(lengths)
    place = np.arange(len(elements)) - np.repeat(ends - lengths, lengths)
    sums = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum(_mixed(elements + place.astype(np.uint64) * _GOLDEN))]
    )
    return _mixed(sums[ends] - sums[ends - lengths] + lengths.astype(np.uint64))


def _mixed(words: Words) -> Words:
    """SplitMix64's last steps: every bit of a word changes half of the bits of its hash."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))

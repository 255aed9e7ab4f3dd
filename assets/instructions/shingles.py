"""Shingles: every run of n words of a text as a 64-bit hash, for many texts at once.

Duplicates and contamination compare texts by these. Words are lower-cased runs of letters and
digits of the NFKC form, so case, punctuation, spacing and compatibility characters do not count
here; what must count in spite of that (numbers, arithmetic signs) is the caller's to compare. A
hash depends on its words alone, never on the other texts of a call.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WORD = re.compile(r"\w+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
UNSPACED_LETTERS = 16
"""Mean letters per word from which a text counts as written without spaces (Chinese, Thai)."""

Hashes = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]


class Vocabulary(dict[str, int]):
    """64-bit hash of each word met. Emptied when it grows past `limit` words, which changes no hash."""

    def __init__(self, limit: int = 2_000_000) -> None:
        super().__init__()
        self.limit = limit

    def __reduce__(self) -> tuple[type["Vocabulary"], tuple[int]]:
        """Empty in another process: what it holds is found again from the words."""
        return Vocabulary, (self.limit,)

    def __missing__(self, word: str) -> int:
        if len(self) >= self.limit:
            self.clear()
        # A lone surrogate has no UTF-8 form; rows are validated before, but a hash should never raise.
        encoded = word.encode("utf-8", "surrogatepass")
        self[word] = int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")
        return self[word]


@dataclass(frozen=True)
class Shingles:
    """Hashes of many texts, one after the other: those of text i are `hashes[offsets[i]:offsets[i + 1]]`."""

    hashes: Hashes  # (total,)
    offsets: Offsets  # (texts + 1,)


def words(text: str) -> list[str]:
    """The words of a text, lower case, in order; its characters where it is written without spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    found = WORD.findall(text.lower())
    if len(text) >= UNSPACED_LETTERS * max(len(found), 1):
        letters = "".join(found)
        if len(letters) >= UNSPACED_LETTERS * len(found):
            return list(letters)
    return found


def shingles(lists: Sequence[Sequence[str]], size: int, vocabulary: Vocabulary) -> Shingles:
    """Every run of `size` words that lies inside a text, given as its `words`.

    In order, repeats included. A text with fewer than `size` words has no shingle.
    """
    find = vocabulary.__getitem__
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    counts = np.maximum(lengths - size + 1, 0)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    flat = np.fromiter((find(word) for found in lists for word in found), np.uint64, count=int(lengths.sum()))
    if not counts.any():
        return Shingles(np.zeros(0, dtype=np.uint64), offsets)
    starts = np.cumsum(lengths) - lengths
    places = np.arange(int(offsets[-1])) + np.repeat(starts - offsets[:-1], counts)
    return Shingles(_windows(flat, size)[places], offsets)


def _windows(flat: Hashes, size: int) -> Hashes:
    """Hash of every run of `size` consecutive values: a polynomial in an odd constant, then mixed."""
    count = len(flat) - size + 1
    total = flat[:count].copy()
    for step in range(1, size):
        total *= MULTIPLIER
        total += flat[step : step + count]
    return mix(total)


def mix(values: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea, Flood, 2014): each input bit reaches each output bit."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed

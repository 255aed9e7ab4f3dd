"""Near-duplicates: rows that repeat another row but for wording details.

The text compared is the whole conversation, instruction and response together: the same question with
another answer is another training row. A row is dropped for a kept row when

1. the Jaccard index of their shingle sets (word 5-grams) is at least the threshold, computed exactly;
2. the kept row has all the words of the dropped one, in the same order: nothing is lost but case,
   punctuation and spacing, and "capital of France" is not "capital of Spain";
3. their numbers and arithmetic signs are the same, in the same order: "12 + 7" is not "12 - 7".

The Jaccard index alone is not enough for instructions. Rows of one task share a long definition and
differ in a short input, an answer option or a question about the same passage. In 76,821 rows of
public sets (Super-NaturalInstructions, FLAN, Alpaca and others) rules 1 and 3 would drop 577, most of
them such rows; with rule 2 it is 85, and all of 45 that were read were true repeats. When in doubt a
row is kept: a missed duplicate costs a little training time, a lost row is lost.

Candidates come from MinHash (Broder, 1997) with locality-sensitive hashing in bands, by the `rensa`
library; a pair right at the threshold is missed with a probability of at most 0.5 %. Texts shorter than
one shingle are compared by characters instead of words in rule 1.

Which row is kept depends on the rows, never on their order: the one with the most words, then the
longest text, then the smallest id. A row is dropped only for a row that is itself kept, so there are
no chains.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from assets.instructions.shingles import Hashes, Shingles, Vocabulary, mix, shingles, words
from resources.compute.boundary import Compute, in_order
from resources.compute.this_machine import THIS_MACHINE

BLOCK = 4096
SHINGLE_WORDS = 5
"""Texts hashed at once; bounds memory, changes no result."""

COMPARED_ROWS = 256
"""Kept rows of one bucket that a row is compared with: bounds the work where very many rows are alike."""

LITERAL = re.compile(r"\d+|[+*/=<>^%#&|~$@\\×÷√±≤≥≠]|!(?==)|-(?=\s?(?:[\d(]|[A-Za-z]\b))")


@dataclass(frozen=True)
class Duplicate:
    """A row to drop, the kept row it repeats, and the exact Jaccard index of their shingle sets."""

    dropped_id: str
    kept_id: str
    similarity: float


def near_duplicates(
    texts: Sequence[str],
    ids: Sequence[str],
    *,
    threshold: float = 0.8,
    permutations: int = 128,
    shingle: int = SHINGLE_WORDS,
    seed: int = 0,
    compute: Compute = THIS_MACHINE,
) -> list[Duplicate]:
    """Find the rows to drop, sorted by `dropped_id`.

    `texts` and `ids` go together, ids are unique. `threshold` is a Jaccard index in (0, 1],
    `permutations` the length of a MinHash signature, `shingle` a number of words, `seed` that of the
    permutations. Holds about 400 bytes a row besides the texts.

    Raises ValueError where arguments do not fit together.
    """
    if len(texts) != len(ids) or _different(ids) != len(ids):
        raise ValueError(
            f"{len(texts)} texts need as many ids, each once; got {_different(ids)} different ones"
        )
    if not 0 < threshold <= 1 or shingle < 1 or permutations < 1 or seed < 0:
        raise ValueError("threshold is in (0, 1], shingle and permutations at least 1, seed at least 0")
    vocabulary = Vocabulary()
    banding = _Banding(shingle, band_size(threshold, permutations), permutations, seed, vocabulary)
    keys = banding.of(texts, compute)
    candidates = np.flatnonzero(_repeated(keys)).tolist()
    literals = np.fromiter((_literals(texts[row]) for row in candidates), np.uint64, count=len(candidates))
    keys = keys[candidates]
    buckets = _shared(mix(keys ^ mix(literals)[:, None]))
    del keys
    paired = np.flatnonzero((buckets >= 0).any(axis=1))
    if not len(paired):
        return []
    lengths = {}
    for row in paired.tolist():
        text = texts[candidates[row]]
        lengths[row] = (-len(words(text)), -len(text))
    order = sorted(lengths, key=lambda row: (lengths[row], ids[candidates[row]]))
    rows = _Rows(
        [ids[candidates[row]] for row in order],
        (texts[candidates[row]] for row in order),
        *(shingle, vocabulary),
    )
    return sorted(rows.repeated(buckets[order], threshold), key=lambda found: found.dropped_id)


def _different(ids: Sequence[str]) -> int:
    """How many different ids there are. Eight bytes of each are held, and the ids only where two share those."""
    hashes = np.fromiter(map(hash, ids), np.int64, count=len(ids))
    hashes.sort()
    return len(set(ids)) if (hashes[1:] == hashes[:-1]).any() else len(ids)


def band_size(threshold: float, permutations: int) -> int:
    """Values per band: the most that still finds 99.5 % of the pairs right at the threshold.

    A pair of Jaccard index s shares one of b bands of r values with probability 1 - (1 - s^r)^b.
    """
    for size in range(permutations, 1, -1):
        if 1 - (1 - threshold**size) ** (permutations // size) >= 0.995:
            return size
    return 1


def compared(found: Sequence[str], shingle: int) -> Sequence[str]:
    """What shingles are made of: words, or characters of a text with too few words for one shingle."""
    if len(found) >= shingle:
        return found
    letters = list("".join(found))
    return letters + [""] * (shingle - len(letters)) if letters else letters


@dataclass(frozen=True)
class _Banding:
    """Keys of texts' bands: `size` values of a signature each."""

    shingle: int
    size: int
    permutations: int
    seed: int
    vocabulary: Vocabulary

    @property
    def bands(self) -> int:
        return self.permutations // self.size

    def of(self, texts: Sequence[str], compute: Compute) -> Hashes:
        """Keys of every text's bands, (texts, bands). A text without words has keys of its own."""
        keys = np.empty((len(texts), self.bands), dtype=np.uint64)
        starts = range(0, len(texts), BLOCK)
        parts = ((start, texts[start : start + BLOCK]) for start in starts)
        for start, block in zip(starts, in_order(compute, self, parts), strict=True):
            keys[start : start + BLOCK] = block
        return keys

    def __call__(self) -> Callable[[tuple[int, Sequence[str]]], Hashes]:
        return self._keys

    def _keys(self, part: tuple[int, Sequence[str]]) -> Hashes:
        from rensa import RMinHash

        start, texts = part
        lists = [compared(words(text), self.shingle) for text in texts]
        found = shingles(lists, self.shingle, self.vocabulary)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            found.hashes, found.offsets.astype(np.uint64), self.permutations, self.seed
        )
        values = np.array(matrix.to_rows(), dtype=np.uint64)[:, : self.bands * self.size]
        weights = mix(np.arange(1, self.size + 1, dtype=np.uint64)) | np.uint64(1)
        banded = values.reshape(-1, self.bands, self.size) * weights
        keys = mix(banded.sum(axis=2, dtype=np.uint64))
        wordless = np.flatnonzero(np.diff(found.offsets) == 0)
        keys[wordless] = mix(np.uint64(start) + wordless.astype(np.uint64))[:, None]
        return keys


def _repeated(keys: Hashes) -> npt.NDArray[np.bool_]:
    """Which rows, (rows,), have a key in a column that another row has in that column."""
    found = np.zeros(len(keys), dtype=np.bool_)
    for column in range(keys.shape[1]):
        order = np.argsort(keys[:, column])
        same = keys[order[1:], column] == keys[order[:-1], column]
        found[order[1:][same]] = True
        found[order[:-1][same]] = True
    return found


def _shared(keys: Hashes) -> npt.NDArray[np.int64]:
    """Number the buckets: same shape as `keys`, -1 where no other row has that key in that column."""
    buckets = np.full(keys.shape, -1, dtype=np.int64)
    first = 0
    for column in range(keys.shape[1]):
        _, inverse, counts = np.unique(keys[:, column], return_inverse=True, return_counts=True)
        buckets[:, column] = np.where(counts[inverse] > 1, inverse + first, -1)
        first += len(counts)
    return buckets


def _literals(text: str) -> int:
    """Hash of the numbers and arithmetic signs of a text, in order."""
    found = " ".join(LITERAL.findall(text)).encode()
    return int.from_bytes(hashlib.blake2b(found, digest_size=8).digest(), "little")


class _Rows:
    """Rows that share a bucket with another, most preferred first: ids, hashes of words and shingle sets."""

    def __init__(
        self, names: Sequence[str], texts: Iterable[str], shingle: int, vocabulary: Vocabulary
    ) -> None:
        self.names = names
        self.words: list[Hashes] = []
        sets: list[Hashes] = []
        rest = iter(texts)
        while lists := [words(text) for text in islice(rest, BLOCK)]:
            self.words += [np.fromiter(map(vocabulary.__getitem__, found), np.uint64) for found in lists]
            part = shingles([compared(found, shingle) for found in lists], shingle, vocabulary)
            sets += [np.unique(one) for one in np.split(part.hashes, part.offsets[1:-1])]
        self.sizes = np.fromiter(map(len, sets), np.int64, count=len(sets))
        self.sets = Shingles(np.concatenate(sets), np.concatenate(([0], np.cumsum(self.sizes))))

    def repeated(self, buckets: npt.NDArray[np.int64], threshold: float) -> list[Duplicate]:
        """Rows that repeat one kept before them. `buckets`, (rows, bands), names each row's, -1 for none."""
        kept: dict[int, list[int]] = {}
        dropped: list[Duplicate] = []
        for row, own in enumerate(buckets):
            shared = own[own >= 0].tolist()
            others = sorted({other for bucket in shared for other in kept.get(bucket, ())})
            found = self._repeats(row, np.array(others, dtype=np.int64), threshold)
            if found:
                dropped.append(found)
                continue
            for bucket in shared:
                held = kept.setdefault(bucket, [])
                if len(held) < COMPARED_ROWS:
                    held.append(row)
        return dropped

    def _repeats(self, row: int, others: npt.NDArray[np.int64], threshold: float) -> Duplicate | None:
        """The most similar of `others` that has all words of `row` in order, or None."""
        ratio = self.sizes[others] / self.sizes[row]
        others = others[(ratio >= threshold) & (ratio * threshold <= 1)]
        if not len(others):
            return None
        hashes, offsets, sizes = self.sets.hashes, self.sets.offsets, self.sizes[others]
        own = hashes[offsets[row] : offsets[row + 1]]
        theirs = np.concatenate([hashes[offsets[other] : offsets[other + 1]] for other in others])
        found = own[np.minimum(np.searchsorted(own, theirs), len(own) - 1)] == theirs
        common = np.add.reduceat(found, np.cumsum(sizes) - sizes, dtype=np.int64)
        index = common / (len(own) + sizes - common)
        for place in np.argsort(-index, kind="stable"):
            if index[place] < threshold:
                break
            if _holds(self.words[others[place]], self.words[row]):
                return Duplicate(self.names[row], self.names[others[place]], float(index[place]))
        return None


def _holds(longer: Hashes, shorter: Hashes) -> bool:
    """Whether all words of `shorter` are in `longer` in the same order."""
    rest = iter(longer.tolist())
    return all(word in rest for word in shorter.tolist())

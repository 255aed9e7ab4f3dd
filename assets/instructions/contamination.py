"""Contamination: instruction rows that hold a benchmark example.

A row and an example are compared by word n-grams, as GPT-3 (Brown et al., 2020, appendix C) did: the
share of the example's n-grams that occur in the row. Case, punctuation and spacing do not count.

An n-gram that more than `COMMON_EXAMPLES` examples have says which benchmark a text comes from ("which
of the following statements is true"), not which example: it is left out, unless the example has no
other. An example of fewer words than an n-gram must occur whole, as consecutive words; one of fewer
than `FEWEST_WORDS` says too little to be found inside a text and must be the whole row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assets.instructions.shingles import Hashes, Shingles, Vocabulary, shingles, words
from resources.compute.boundary import Compute, in_order
from resources.compute.this_machine import THIS_MACHINE

BLOCK = 4096
"""Rows looked at at once; bounds memory, changes no result."""

COMMON_EXAMPLES = 10
"""Examples that may share an n-gram before it counts as the benchmark's wording."""

FEWEST_WORDS = 4
"""Words of the shortest example that is looked for inside longer texts."""

Overlap = tuple[int, str, float]
"""Place of a row in its block, example id, share of the example's n-grams found."""


@dataclass(frozen=True)
class Collision:
    """An instruction row, the example it collides with most, and the share of that one's n-grams found."""

    instruction_id: str
    example_id: str
    share: float


def contaminated(
    texts: Sequence[str],
    ids: Sequence[str],
    benchmark_texts: Sequence[str],
    benchmark_ids: Sequence[str],
    *,
    n: int = 8,
    threshold: float = 0.7,
    compute: Compute = THIS_MACHINE,
) -> list[Collision]:
    """Find the rows that hold at least `threshold` of an example: one collision a row, sorted by its id.

    `benchmark_ids` may repeat: an example given as several texts (its prompt, and its prompt with the
    response) counts by the one found most. `n` is a number of words, `threshold` a share in (0, 1].
    Equal shares go to the smallest example id.

    Raises ValueError where arguments do not fit together.
    """
    if len(texts) != len(ids):
        raise ValueError("every text needs an id")
    benchmark = _Benchmark(benchmark_texts, benchmark_ids, n, threshold)
    collisions: list[Collision] = []
    for start, found in benchmark.overlaps(texts, compute):
        best: dict[int, tuple[float, str]] = {}
        for row, example, share in found:
            best[row] = min(best.get(row, (0.0, "")), (-share, example))
        collisions += [Collision(ids[start + row], example, -share) for row, (share, example) in best.items()]
    return sorted(collisions, key=lambda collision: collision.instruction_id)


def overlapping_examples(
    texts: Sequence[str],
    benchmark_texts: Sequence[str],
    benchmark_ids: Sequence[str],
    *,
    n: int = 8,
    threshold: float = 0.7,
) -> dict[str, float]:
    """Find the examples of which some text holds at least `threshold`: example id -> the largest share.

    The same test as `contaminated`, asked the other way round: every example is found, also where several
    collide with one text. Raises ValueError where arguments do not fit together.
    """
    found: dict[str, float] = {}
    benchmark = _Benchmark(benchmark_texts, benchmark_ids, n, threshold, every=True)
    for _, overlaps in benchmark.overlaps(texts, THIS_MACHINE):
        for _, example, share in overlaps:
            found[example] = max(found.get(example, 0.0), share)
    return dict(sorted(found.items()))


class _Benchmark:
    """The texts of a benchmark, indexed by the sizes of their n-grams.

    Looked for is the example found most of each text and index, or with `every` all that reach the threshold.
    """

    def __init__(
        self, texts: Sequence[str], ids: Sequence[str], n: int, threshold: float, *, every: bool = False
    ) -> None:
        if len(texts) != len(ids):
            raise ValueError("every text needs an id")
        if n < 1 or not 0 < threshold <= 1:
            raise ValueError("n is at least 1 and threshold in (0, 1]")
        self.threshold = threshold
        self.every = every
        self.vocabulary = Vocabulary()
        # By example id, so that of equal shares the first is the one to name.
        order = sorted(range(len(ids)), key=lambda place: (ids[place], texts[place]))
        lists = [words(texts[place]) for place in order]
        examples = [ids[place] for place in order]
        self.fewest = min(FEWEST_WORDS, n)
        self.whole: dict[tuple[str, ...], list[str]] = {}
        for found, example in zip(lists, examples, strict=True):
            if 0 < len(found) < self.fewest:
                self.whole.setdefault(tuple(found), []).append(example)
        sizes = sorted({min(len(found), n) for found in lists if len(found) >= self.fewest})
        self.indexes = [_Index(size, n, lists, examples, self.vocabulary) for size in sizes]

    def overlaps(self, texts: Sequence[str], compute: Compute) -> Iterator[tuple[int, list[Overlap]]]:
        """Block by block, in order: the place of its first text, and what overlaps."""
        starts = range(0, len(texts), BLOCK)
        parts = (texts[start : start + BLOCK] for start in starts)
        return zip(starts, in_order(compute, self, parts), strict=True)

    def __call__(self) -> Callable[[Sequence[str]], list[Overlap]]:
        return self._overlaps

    def _overlaps(self, texts: Sequence[str]) -> list[Overlap]:
        block = [words(text) for text in texts]
        overlaps: list[Overlap] = []
        for row, found in enumerate(block):
            if len(found) < self.fewest:
                same = self.whole.get(tuple(found), [])
                overlaps += [(row, example, 1.0) for example in (same if self.every else same[:1])]
        for index in self.indexes:
            rows = shingles(block, index.size, self.vocabulary)
            overlaps += index.shares(rows, self.threshold, every=self.every)
        return overlaps


class _Index:
    """The n-grams of one size of all benchmark texts, and which texts have them."""

    def __init__(
        self,
        size: int,
        n: int,
        lists: Sequence[Sequence[str]],
        examples: Sequence[str],
        vocabulary: Vocabulary,
    ) -> None:
        """`lists` are the words of the texts, `examples` their ids; those of another size are passed over."""
        self.size = size
        chosen = [place for place, found in enumerate(lists) if min(len(found), n) == size]
        self.examples = [examples[place] for place in chosen]
        numbers = {example: number for number, example in enumerate(dict.fromkeys(self.examples))}
        example_of = np.array([numbers[example] for example in self.examples], dtype=np.int64)
        part = shingles([lists[place] for place in chosen], size, vocabulary)
        pairs = _pairs(part.hashes, np.repeat(np.arange(len(chosen)), np.diff(part.offsets)))
        grams, texts = pairs["gram"], pairs["text"]
        known, which = np.unique(grams, return_inverse=True)
        per_example = np.unique(np.stack([which, example_of[texts]]), axis=1)
        spread = np.bincount(per_example[0], minlength=len(known))
        rare = spread[which] <= COMMON_EXAMPLES
        counted = rare | (np.bincount(texts[rare], minlength=len(chosen)) == 0)[texts]
        self.totals = np.bincount(texts[counted], minlength=len(chosen))
        self.texts = texts[counted]
        self.known, self.starts, self.counts = np.unique(
            grams[counted], return_index=True, return_counts=True
        )
        # A table by the low bits of a hash turns most n-grams of clean rows away without a search.
        self.mask = np.uint64((1 << max(16, (32 * len(self.known)).bit_length())) - 1)
        self.table = np.zeros(int(self.mask) + 1, dtype=np.bool_)
        self.table[self.known & self.mask] = True

    def shares(
        self, rows: Shingles, threshold: float, *, every: bool = False
    ) -> list[tuple[int, str, float]]:
        """(row, example id, share) that reach the threshold: the largest share of each row, or every one."""
        maybe = np.flatnonzero(self.table[rows.hashes & self.mask])
        found = np.searchsorted(self.known, rows.hashes[maybe])
        found = np.minimum(found, len(self.known) - 1)
        hit = self.known[found] == rows.hashes[maybe]
        row_of = np.searchsorted(rows.offsets, maybe[hit], side="right") - 1
        pairs = _pairs(found[hit].astype(np.uint64), row_of)
        gram, row = pairs["gram"].astype(np.int64), pairs["text"]
        counts = self.counts[gram]
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        text = self.texts[np.repeat(self.starts[gram], counts) + within]
        keys, common = np.unique(np.repeat(row, counts) * len(self.totals) + text, return_counts=True)
        row, text = keys // len(self.totals), keys % len(self.totals)
        share = common / self.totals[text]
        if every:
            enough = np.flatnonzero(share >= threshold)
            return [(int(row[at]), self.examples[text[at]], float(share[at])) for at in enough]
        order = np.lexsort((text, -share, row))
        _, first = np.unique(row[order], return_index=True)
        best = order[first]
        best = best[share[best] >= threshold]
        return [(int(row[at]), self.examples[text[at]], float(share[at])) for at in best]


def _pairs(grams: Hashes, texts: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    """Each n-gram of each text once, sorted by n-gram and text."""
    pairs = np.empty(len(grams), dtype=[("gram", np.uint64), ("text", np.int64)])
    pairs["gram"], pairs["text"] = grams, texts
    order = np.lexsort((texts, grams))
    pairs = pairs[order]
    new = np.ones(len(pairs), dtype=np.bool_)
    new[1:] = (pairs["gram"][1:] != pairs["gram"][:-1]) | (pairs["text"][1:] != pairs["text"][:-1])
    return pairs[new]

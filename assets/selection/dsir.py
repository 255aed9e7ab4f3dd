"""DSIR: rows whose words are distributed as the reward set's, by importance resampling (arXiv 2302.03169).

A text is a bag of hashed 1- and 2-grams. The importance weight of a row is the ratio of its probability
under two such bags, the reward set's and the pool's; Gumbel noise on its logarithm and the highest keys
make a sample without replacement. Tokens and buckets are those of the published tool: lower case,
runs of word characters or of other characters but white space, SHA-256 of the n-gram modulo
the number of buckets. Its minimum of 100 tokens a document, meant for web pages, is left out: most
instructions are shorter.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from assets.ledger import Selection
from assets.selection.pool import Budget, Pool
from assets.selection.static import laid_out
from resources.errors import SultanaError

BUCKETS = 10_000
EPSILON = 1e-8
"""Added to each bucket's probability before its logarithm, as the published tool does."""

TEXTS = 4096
"""Texts hashed at a time: bounds the memory that distinct 2-grams take."""

Text = str | tuple[str, str, float]
"""A text, or (text a, text b, λ): a mix of a's counts with weight λ and b's with weight 1 - λ."""

_TOKEN = re.compile(r"\w+|[^\w\s]+")
_Buckets = NDArray[np.uint32]
_Counts = NDArray[np.int64]


def dsir(
    pool: Pool,
    budget: Budget,
    seed: int,
    texts: Sequence[Text],
    reward_texts: Sequence[str],
    buckets: int = BUCKETS,
    pseudo_count: float = 0.0,
) -> tuple[Selection, ...]:
    """Rows drawn without replacement by importance weight; the score is its logarithm, without noise.

    `texts` has one element a row in the pool's order: prompt and response as plain text. `pseudo_count` is
    added to each bucket's count in the reward set (0 in the published tool, which suggests more for
    small sets). Raises SultanaError where the reward set has no token, a mix's λ is outside 0 to 1, or
    the number of texts is not the pool's.
    """
    budget.check(pool)
    if len(texts) != len(pool):
        raise SultanaError(
            f"Strategy dsir was given {len(texts):,} texts for a pool of {len(pool):,} rows",
            "Give one text for each row of the pool, in the pool's order",
            code="shapes-differ",
        )
    weights = log_importance_weights(texts, reward_texts, buckets, pseudo_count)
    keys = weights + np.random.default_rng(seed).gumbel(size=len(pool))
    ranked = np.argsort(-keys, kind="stable")

    def reason(position: int, rank: int) -> str:
        return (
            f"log importance weight {weights[position]:.4f} to the reward set ({keys[position]:.4f} with Gumbel "
            f"noise), number {rank:,} of {len(pool):,}"
        )

    return laid_out(pool, budget, seed, "dsir", ranked, weights, reason)


def log_importance_weights(
    texts: Sequence[Text],
    reward_texts: Sequence[str],
    buckets: int = BUCKETS,
    pseudo_count: float = 0.0,
) -> NDArray[np.float64]:
    """log p(reward set) - log p(texts) of each text, (N,): the sum over its n-grams' buckets."""
    if buckets < 1 or not (np.isfinite(pseudo_count) and pseudo_count >= 0):
        raise SultanaError(
            f"Strategy dsir has buckets = {buckets} and pseudo_count = {pseudo_count}",
            "Set buckets to 1 or more and pseudo_count to a number of 0 or more",
            code="setting-out-of-bounds",
        )
    target = np.zeros(buckets)
    for _, _, grams in _hashed(reward_texts, buckets):
        target += np.bincount(grams, minlength=buckets)
    if not target.any():
        raise SultanaError(
            "Strategy dsir has no token to aim at: the reward set has no text",
            "Select a reward set whose examples have a prompt or a response",
            code="split-without-examples",
        )
    rows, shares, pieces = _pieces(texts)
    # One uint32 for each n-gram: about as much memory as the texts themselves.
    hashed = list(_hashed(pieces, buckets))
    raw = np.zeros(buckets)
    for start, counts, grams in hashed:
        share = np.repeat(shares[start : start + len(counts)], counts)
        raw += np.bincount(grams, weights=share, minlength=buckets)
    target += pseudo_count
    # A pool without any token has no distribution; every row then weighs 0 whatever stands here.
    difference = np.log(target / target.sum() + EPSILON) - np.log(raw / (raw.sum() or 1.0) + EPSILON)
    sums = np.zeros(len(pieces))
    for start, counts, grams in hashed:
        of_text = np.repeat(np.arange(len(counts)), counts)
        sums[start : start + len(counts)] += np.bincount(
            of_text, weights=difference[grams], minlength=len(counts)
        )
    return np.bincount(rows, weights=shares * sums, minlength=len(texts)).astype(np.float64)


def bucket(ngram: str, buckets: int = BUCKETS) -> int:
    """The bucket of an n-gram whose tokens are joined by one space."""
    return int.from_bytes(hashlib.sha256(ngram.encode()).digest(), "big") % buckets


def _pieces(texts: Sequence[Text]) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Each plain text with its row and its share of the row's counts."""
    rows, shares, pieces = [], [], []
    for row, text in enumerate(texts):
        if isinstance(text, str):
            parts = [(text, 1.0)]
        else:
            if not 0 <= text[2] <= 1:
                raise SultanaError(
                    f"Strategy dsir was given λ = {text[2]} for the text of row {row:,}",
                    "Mix two texts with a λ of 0 to 1",
                    code="row-value-invalid",
                )
            parts = [(text[0], text[2]), (text[1], 1 - text[2])]
        for part, share in parts:
            rows.append(row)
            shares.append(share)
            pieces.append(part)
    return np.array(rows, dtype=np.int64), np.array(shares), pieces


def _hashed(texts: Sequence[str], buckets: int) -> Iterator[tuple[int, _Counts, _Buckets]]:
    """Blocks of n-grams: the place of the first text, how many each text has, and their buckets in order.

    A block has the 1-grams of some texts, the next one their 2-grams.
    """
    known: dict[str, int] = {}  # word -> place in `words`
    words: list[str] = []
    of_word: list[int] = []
    for start in range(0, len(texts), TEXTS):
        tokens = [_TOKEN.findall(text.lower()) for text in texts[start : start + TEXTS]]
        counts = np.array([len(found) for found in tokens], dtype=np.int64)
        for word in dict.fromkeys(chain.from_iterable(tokens)):
            if word not in known:
                known[word] = len(words)
                words.append(word)
                of_word.append(bucket(word, buckets))
        ids = np.fromiter(map(known.__getitem__, chain.from_iterable(tokens)), np.int64, int(counts.sum()))
        yield start, counts, np.array(of_word, dtype=np.uint32)[ids]
        of_text = np.repeat(np.arange(len(counts)), counts)
        within = of_text[:-1] == of_text[1:]
        pairs, which = np.unique(ids[:-1][within] * len(words) + ids[1:][within], return_inverse=True)
        of_pair = [
            bucket(f"{words[pair // len(words)]} {words[pair % len(words)]}", buckets)
            for pair in pairs.tolist()
        ]
        yield start, np.maximum(counts - 1, 0), np.array(of_pair, dtype=np.uint32)[which]

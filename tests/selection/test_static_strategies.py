"""What `random` and `longest` select, and that a batch never holds a row twice."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.selection import static
from assets.selection.pool import Pool
from resources.errors import SultanaError


def pool_of(rows: int) -> Pool:
    names = [f"row-{i:03d}" for i in range(rows)]
    return Pool.build(names, ["original"] * rows, [0] * rows, np.arange(rows)[::-1] + 1)


def flat(steps):
    return [row_id for step in steps for row_id in step.row_ids]


@pytest.mark.parametrize("strategy", [static.random, static.longest])
@given(rows=st.integers(1, 30), steps=st.integers(1, 12), batch=st.integers(1, 30), seed=st.integers(0, 3))
def test_every_slot_is_filled_evenly(strategy, rows, steps, batch, seed):
    batch = min(batch, rows)
    chosen = strategy(pool_of(rows), steps, batch, seed)
    assert [step.step for step in chosen] == list(range(steps))
    assert all(len(set(step.row_ids)) == batch for step in chosen)
    times = Counter(flat(chosen))
    assert sum(times.values()) == steps * batch
    # A batch that spans two passes may let a row of the second pass wait, by one batch at most.
    assert max(times.values()) <= -(-steps * batch // rows) + (batch > 1)


def test_random_passes_over_the_pool_before_it_repeats():
    chosen = static.random(pool_of(20), 10, 4, seed=1)
    assert set(flat(chosen[:5])) == set(flat(chosen[5:])) == set(pool_of(20).row_ids)
    assert flat(chosen[:5]) != flat(chosen[5:])
    assert chosen[0].entries[0].reason == "drawn at random without replacement, pass 1 over 20 rows"
    assert chosen[9].entries[0].reason.startswith("drawn at random without replacement, pass 2")
    scores = [entry.score for step in chosen[:5] for entry in step]
    assert scores == sorted(scores)


def test_random_follows_the_seed():
    pool = pool_of(30)
    assert static.random(pool, 3, 4, seed=1) == static.random(pool, 3, 4, seed=1)
    assert static.random(pool, 3, 4, seed=1) != static.random(pool, 3, 4, seed=2)


def test_longest_takes_the_longest_and_spreads_them():
    chosen = static.longest(pool_of(30), 3, 4, seed=1)
    assert set(flat(chosen)) == {f"row-{i:03d}" for i in range(12)}
    assert flat(chosen) != sorted(flat(chosen))
    entry = next(entry for step in chosen for entry in step if entry.row_id == "row-001")
    assert entry.score == 29.0
    assert entry.reason == "response of 29 tokens, number 2 by length of 30"
    again = static.longest(pool_of(30), 3, 4, seed=2)
    assert set(flat(again)) == set(flat(chosen)) and flat(again) != flat(chosen)


def test_impossible_sizes_and_scores_are_refused():
    with pytest.raises(SultanaError, match="batch of 5 rows was asked for from a pool of 4"):
        static.random(pool_of(4), 1, 5, seed=0)
    with pytest.raises(SultanaError, match="0 steps"):
        static.longest(pool_of(4), 0, 2, seed=0)
    with pytest.raises(SultanaError, match="scored row row-001 as nan"):
        static.highest(pool_of(2), [1.0, np.nan], 1, 1, 0, "ifd", lambda rank, score: "")
    with pytest.raises(SultanaError, match="scored 3 rows of a pool of 2"):
        static.highest(pool_of(2), [1.0, 2.0, 3.0], 1, 1, 0, "ifd", lambda rank, score: "")

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.interpolation.alignment import ALIGNMENTS, align


@dataclass(frozen=True)
class Row:
    ids: np.ndarray
    trained: np.ndarray
    response_start: int


def row(prompt: int, response: int, first: int = 1) -> Row:
    ids = np.arange(first, first + prompt + response).astype(np.int32)
    return Row(ids, np.arange(len(ids)) >= prompt, prompt)


rows = st.builds(row, st.integers(1, 9), st.integers(1, 9), st.integers(0, 50))
lambdas = st.floats(0.0, 1.0, allow_nan=False)
alignments = st.sampled_from(ALIGNMENTS)

A, B = row(2, 2), row(1, 4, 5)  # 1 2 | 3 4 and 5 | 6 7 8 9


@pytest.mark.parametrize(
    ("alignment", "ids", "coefficients", "labels"),
    [
        (
            "response_border",
            [[1, 2, 3, 4, 0, 0], [0, 5, 6, 7, 8, 9]],
            [[1, 0.75, 0.75, 0.75, 0, 0], [0, 0.25, 0.25, 0.25, 1, 1]],
            [[0, 0, 0.75, 0.75, 0, 0], [0, 0, 0.25, 0.25, 0.25, 0.25]],
        ),
        (
            "response_border_scaled",
            [[1, 2, 3, 4, 0, 0], [0, 5, 6, 7, 8, 9]],
            [[0.75, 0.75, 0.75, 0.75, 0, 0], [0, 0.25, 0.25, 0.25, 0.25, 0.25]],
            [[0, 0, 0.75, 0.75, 0, 0], [0, 0, 0.25, 0.25, 0.25, 0.25]],
        ),
        (
            "shorter",
            [[2, 3, 4], [5, 6, 7]],
            [[0.75, 0.75, 0.75], [0.25, 0.25, 0.25]],
            [[0, 0.75, 0.75], [0, 0.25, 0.25]],
        ),
        (
            "start",
            [[1, 2, 3, 4, 0], [5, 6, 7, 8, 9]],
            [[0.75, 0.75, 0.75, 0.75, 0], [0.25, 0.25, 0.25, 0.25, 1]],
            [[0, 0, 0.75, 0.75, 0], [0, 0.25, 0.25, 0.25, 0.25]],
        ),
        (
            "start_scaled",
            [[1, 2, 3, 4, 0], [5, 6, 7, 8, 9]],
            [[0.75, 0.75, 0.75, 0.75, 0], [0.25, 0.25, 0.25, 0.25, 0.25]],
            [[0, 0, 0.75, 0.75, 0], [0, 0.25, 0.25, 0.25, 0.25]],
        ),
    ],
)
def test_each_alignment_lays_two_rows_over_each_other_in_its_way(
    alignment: str, ids: list[list[int]], coefficients: list[list[float]], labels: list[list[float]]
) -> None:
    found = align((A, B), 0.75, alignment)
    assert found.ids.tolist() == ids
    assert found.coefficients.tolist() == coefficients
    assert found.label_weights.tolist() == labels


@given(rows, rows, lambdas, alignments)
def test_swapping_the_parents_gives_the_same_row(a: Row, b: Row, lam: float, alignment: str) -> None:
    one, two = align((a, b), lam, alignment), align((b, a), 1.0 - lam, alignment)
    order = [0, 1] if len(one.ids) == 1 or lam != 0.5 else [1, 0]
    for name in ("ids", "coefficients", "label_weights"):
        assert np.array_equal(getattr(one, name), getattr(two, name)[order[: len(one.ids)]])


@given(rows, rows, alignments)
def test_a_whole_lambda_is_the_parent_alone_and_uncut(a: Row, b: Row, alignment: str) -> None:
    for found, alone in ((align((a, b), 1.0, alignment, 3), a), (align((a, b), 0.0, alignment, 3), b)):
        plain = align((alone,), 1.0)
        for name in ("ids", "coefficients", "label_weights"):
            assert np.array_equal(getattr(found, name), getattr(plain, name))
        assert found.layer == 0 and np.array_equal(found.ids[0], alone.ids)


@given(rows, rows, st.floats(0.01, 0.99), alignments)
def test_a_pair_has_no_hole_and_says_where_its_sides_lie(a: Row, b: Row, lam: float, alignment: str) -> None:
    found = align((a, b), lam, alignment)
    assert (found.coefficients > 0).any(axis=0).all()
    parents = [a, b] if lam >= 0.5 else [b, a]
    for side, (parent, start, end) in enumerate(zip(parents, found.starts, found.ends, strict=True)):
        live = found.coefficients[side] > 0
        assert live[start:end].all() and live.sum() == end - start
        part = found.ids[side, start:end].astype(np.int32)
        assert part.tobytes() in parent.ids.tobytes()  # a run of the parent's own tokens
        assert len(part) == len(parent.ids) or alignment == "shorter"
    if not alignment.endswith("scaled"):
        assert np.allclose(found.coefficients.sum(axis=0), 1.0)
    if alignment != "shorter":
        kept = lam * a.trained.sum() + (1 - lam) * b.trained.sum()
        assert found.label_weight == pytest.approx(kept, abs=1e-5)


def test_a_cut_that_leaves_no_trained_token_leaves_no_label_weight() -> None:
    late = Row(np.arange(6, dtype=np.int32), np.arange(6) == 5, 2)  # the last of its response is trained
    untrained = Row(np.arange(3, dtype=np.int32), np.zeros(3, bool), 2)
    assert align((late, untrained), 0.5, "shorter").label_weight == 0.0
    assert align((late, untrained), 0.5).label_weight == 0.5


def test_unknown_alignments_and_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="response_border, response_border_scaled, shorter"):
        align((A, B), 0.5, "middle")
    with pytest.raises(ValueError, match="layer"):
        align((A, B), 0.5, layer=-1)

"""The order of rows that RAISE starts from: each turns the sum of gradients furthest towards the reward's."""

import numpy as np
import pytest
import torch

from assets.selection.alignment_scores import directed, normal_scores

REWARD = np.array([1.0, 0.0, 0.0])


def order_of(gradients: list[list[float]], labels: list[int] | None = None, count: int = 2, size: int = 2):
    rows = torch.tensor(gradients)
    products = rows.double().numpy() @ REWARD
    classes = np.array(labels or [0] * len(rows), np.int32)
    return directed(products, rows, classes, count, size).tolist()


def test_rows_whose_errors_cancel_come_before_a_longer_one() -> None:
    opposite = [[1.0, 2.0, 0.0], [1.0, -2.0, 0.0]]
    long = [5.0, 0.0, 20.0]  # the largest inner product, and no better a direction
    assert order_of([long, *opposite], count=2) == [1, 2, 0]
    assert np.argmax([long[0], 1.0, 1.0]) == 0


def test_every_row_taken_is_the_best_next_one() -> None:
    generator = np.random.default_rng(0)
    gradients = generator.normal(size=(40, 6)).astype(np.float32) + [0.3, 0, 0, 0, 0, 0]
    reward = np.eye(6)[0]
    products = gradients @ reward
    found = directed(products, torch.tensor(gradients, dtype=torch.float32), np.zeros(40, np.int32), 10, 5)
    taken: list[int] = []
    for expected in found[:10]:
        left = [one for one in range(40) if one not in taken]
        sums = np.array([gradients[[*taken, one]].sum(axis=0) for one in left])
        cosines = sums @ reward / np.linalg.norm(sums, axis=1)
        assert left[int(cosines.argmax())] == expected
        taken.append(int(expected))
    together = gradients[found[:10]].sum(axis=0)
    by_product = gradients[np.argsort(-products)[:10]].sum(axis=0)
    assert together @ reward / np.linalg.norm(together) > by_product @ reward / np.linalg.norm(by_product)
    assert sorted(found.tolist()) == list(range(40))


def test_each_class_gives_its_share_of_every_batch() -> None:
    generator = np.random.default_rng(1)
    rows = [[float(10 - number % 5), *generator.normal(size=2).tolist()] for number in range(20)]
    labels = [0] * 14 + [1] * 6
    found = order_of(rows, labels, count=8, size=4)
    assert [sorted(labels[row] for row in found[start : start + 4]) for start in (0, 4)] == [[0, 0, 1, 1]] * 2
    # A class that has run out is stood in for.
    found = order_of(rows, [0] * 19 + [1], count=8, size=4)
    assert found[:8].count(19) == 1 and len(set(found)) == 20


def test_the_rest_follow_by_what_they_would_add_and_ties_by_place() -> None:
    rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.5, 0.0]]
    assert order_of(rows, count=1, size=1) == [0, 2, 3, 1]


def test_scores_are_quantiles_the_first_the_highest() -> None:
    scores = normal_scores(5)
    assert (np.diff(scores) < 0).all() and scores[2] == pytest.approx(0) and scores[0] == -scores[4]

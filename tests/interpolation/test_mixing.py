from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.interpolation.alignment import align
from assets.interpolation.label_loss import label_log_probabilities, soft_label_loss
from assets.interpolation.mixing import collate, mixed_embeddings

VOCABULARY = 23


@dataclass(frozen=True)
class Row:
    ids: np.ndarray
    trained: np.ndarray
    response_start: int


def row(prompt: int, response: int, seed: int = 0) -> Row:
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, VOCABULARY, prompt + response).astype(np.int32)
    return Row(ids, np.arange(len(ids)) >= prompt, prompt)


rows = st.builds(row, st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
lambdas = st.floats(0.0, 1.0, allow_nan=False)


def test_sequences_meet_at_the_border_and_a_lone_side_keeps_its_embedding() -> None:
    a = Row(np.array([1, 2, 3, 4], np.int32), np.array([False, False, True, True]), 2)
    b = Row(np.array([5, 6, 7, 8, 9, 10], np.int32), np.array([False, True, True, True, True, True]), 1)
    found = align((a, b), 0.75)
    assert found.ids.tolist() == [[1, 2, 3, 4, 0, 0, 0], [0, 5, 6, 7, 8, 9, 10]]
    assert found.coefficients.tolist() == [[1, 0.75, 0.75, 0.75, 0, 0, 0], [0, 0.25, 0.25, 0.25, 1, 1, 1]]
    assert found.label_weights.tolist() == [
        [0, 0, 0.75, 0.75, 0, 0, 0],
        [0, 0, 0.25, 0.25, 0.25, 0.25, 0.25],
    ]
    assert found.label_weight == pytest.approx(0.75 * 2 + 0.25 * 5)


@given(rows, rows, lambdas)
def test_an_aligned_pair_has_no_hole_and_loses_no_token(a: Row, b: Row, lam: float) -> None:
    found = align((a, b), lam)
    assert np.allclose(found.coefficients.sum(axis=0), 1.0)
    expected = lam * a.trained.sum() + (1 - lam) * b.trained.sum()
    assert found.label_weight == pytest.approx(expected, abs=1e-5)
    if found.ids.shape[0] == 2:
        assert found.width == max(a.response_start, b.response_start) + max(
            len(a.ids) - a.response_start, len(b.ids) - b.response_start
        )


@given(rows, rows, lambdas)
def test_swapping_the_parents_gives_the_same_row(a: Row, b: Row, lam: float) -> None:
    one, two = align((a, b), lam), align((b, a), 1.0 - lam)
    order = [0, 1] if len(one.ids) == 1 or lam != 0.5 else [1, 0]
    for name in ("ids", "coefficients", "label_weights"):
        assert np.array_equal(getattr(one, name), getattr(two, name)[order[: len(one.ids)]])


@given(rows, rows)
def test_a_whole_lambda_is_an_original_row(a: Row, b: Row) -> None:
    for found, alone in ((align((a, b), 1.0), a), (align((a, b), 0.0), b)):
        plain = align((alone,), 1.0)
        assert found.ids.shape[0] == 1
        assert np.array_equal(found.ids, plain.ids) and np.array_equal(
            found.label_weights, plain.label_weights
        )


@pytest.mark.parametrize("lam", [-0.1, 1.1, float("nan")])
def test_lambda_outside_its_range_is_refused(lam: float) -> None:
    with pytest.raises(ValueError, match="λ"):
        align((row(1, 1), row(2, 2)), lam)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(rows, rows, lambdas), min_size=1, max_size=4))
def test_loss_is_cross_entropy_against_explicit_soft_labels(pairs: list[tuple[Row, Row, float]]) -> None:
    torch.manual_seed(0)
    batch = collate([align((a, b), lam) for a, b, lam in pairs])
    _, count, width = batch.ids.shape
    states = torch.randn(count, width, 8, dtype=torch.float64)
    weight = torch.randn(VOCABULARY, 8, dtype=torch.float64)
    targets = torch.zeros(count, width, VOCABULARY, dtype=torch.float64)
    for place, (a, b, lam) in enumerate(pairs):
        found = align((a, b), lam)
        for side in range(found.ids.shape[0]):
            for at in range(1, found.width):
                targets[place, at - 1, found.ids[side, at]] += float(found.label_weights[side, at])
    expected = -(targets * torch.log_softmax(states @ weight.t(), -1)).sum()
    chosen = states.flatten(0, 1)[batch.label_places]
    loss = soft_label_loss(chosen, weight, None, batch.labels, batch.label_weights, chunk=5)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_gradients_of_the_loss_are_autograd_s(chunk: int, has_bias: bool, cap: float | None) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(30, 8), torch.randn(VOCABULARY, 8)] + [torch.randn(VOCABULARY)] * has_bias
    labels, weights = torch.randint(0, VOCABULARY, (2, 30)), torch.rand(2, 30)

    def gradients(loss: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss * 0.5, inputs))

    ours = [leaf.clone().requires_grad_() for leaf in leaves]
    bias = ours[2] if has_bias else None
    found = gradients(soft_label_loss(ours[0], ours[1], bias, labels, weights, chunk, cap), ours)
    theirs = [leaf.clone().requires_grad_() for leaf in leaves]
    logits = torch.nn.functional.linear(theirs[0], theirs[1], theirs[2] if has_bias else None)
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    loss = sum(
        (weights[side] * torch.nn.functional.cross_entropy(logits, labels[side], reduction="none")).sum()
        for side in range(2)
    )
    assert isinstance(loss, torch.Tensor)
    for one, two in zip(found, gradients(loss, theirs), strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)
    given = label_log_probabilities(leaves[0], leaves[1], leaves[2] if has_bias else None, labels, chunk, cap)
    expected = torch.log_softmax(logits, -1).gather(1, labels.t()).t()
    assert torch.allclose(given, expected, rtol=1e-4, atol=1e-5)


def test_embeddings_are_mixed_through_the_module_and_gradients_reach_it() -> None:
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(VOCABULARY, 4)
    seen: list[torch.Size] = []
    embedding.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    a, b = row(2, 3, 1), row(4, 2, 2)
    batch = collate([align((a, b), 0.25), align((a,), 1.0)])
    mixed = mixed_embeddings(embedding, batch)
    assert seen == [mixed.shape, mixed.shape]  # hooks such as NEFTune's see both sides
    table = embedding.weight
    assert torch.allclose(mixed[0, 4], 0.75 * table[b.ids[4]] + 0.25 * table[a.ids[2]])
    assert torch.equal(mixed[1, : len(a.ids)], table[torch.from_numpy(a.ids).long()])
    mixed[0].sum().backward()
    assert embedding.weight.grad is not None
    counts = np.zeros(VOCABULARY)
    found = align((a, b), 0.25)
    np.add.at(counts, found.ids, found.coefficients)
    assert torch.allclose(embedding.weight.grad[:, 0], torch.from_numpy(counts).float(), atol=1e-5)


def test_row_weights_multiply_label_weights() -> None:
    batch = collate([align((row(1, 3),), 1.0), align((row(2, 2),), 1.0)], [2.0, 0.5])
    assert batch.label_weights.tolist() == [[2.0, 2.0, 2.0, 0.5, 0.5]]
    assert batch.label_rows.tolist() == [0, 0, 0, 1, 1]
    assert batch.tokens == 8 and batch.coefficients is None

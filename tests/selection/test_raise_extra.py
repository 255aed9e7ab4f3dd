"""Columns beyond the paper's, and a policy that starts from scores known for some rows."""

import math

import numpy as np
import pytest
import torch

from assets.selection.raise_policy.acquisition import AcquisitionFunction, warm_start
from assets.selection.raise_policy.features import build_features
from assets.selection.raise_policy.scoring import StaticFeatures
from resources.errors import SultanaError


def test_extra_columns_come_last_and_are_standardised():
    generator = np.random.default_rng(0)
    lengths, chances = np.arange(1, 41), -generator.random(40)
    given = (lengths, lengths, chances, chances, generator.normal(size=(40, 50)))
    plain = build_features(*given)
    extra = np.stack([100 * generator.random(40), np.full(40, 3.0)], 1)
    wider = build_features(*given, extra=extra, extra_names=("gradient_alignment", "quality"))
    assert wider.static.shape == (40, 38) and plain.static.shape == (40, 36)
    assert wider.names[-2:] == ("gradient_alignment", "quality")
    np.testing.assert_array_equal(wider.static[:, :36], plain.static)
    np.testing.assert_allclose(
        wider.static[:, 36], (extra[:, 0] - extra[:, 0].mean()) / extra[:, 0].std(), 1e-4
    )
    assert np.all(wider.static[:, 37] == 0)
    raw = build_features(*given, extra=extra, extra_names=("a", "b"), standardise=False)
    np.testing.assert_allclose(raw.static[:, 36:], extra, rtol=1e-6)
    with pytest.raises(SultanaError, match=r"shape \(40, 2\); expected \(40, 1\) for 1 names"):
        build_features(*given, extra=extra, extra_names=("a",))
    with pytest.raises(SultanaError, match="same name"):
        build_features(*given, extra=extra, extra_names=("a", "semantic_3"))
    with pytest.raises(SultanaError, match="Row 1 of the extra features is nan"):
        build_features(*given, extra=np.where(np.arange(40) == 1, np.nan, 1.0)[:, None], extra_names=("a",))


def test_a_warm_start_from_some_rows_scores_ranks_the_others_too():
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(600, 6, generator=generator)
    scores = columns @ torch.randn(6, generator=generator)
    known = torch.rand(600, generator=generator) < 0.3
    function = AcquisitionFunction(6, 32, seed=0)
    given = StaticFeatures(columns.numpy())
    error = warm_start(function, given, scores.where(known, math.nan), -1.0, epochs=150, seed=0)
    assert error < 0.2
    fitted = function(torch.tensor([[-1.0, 0.5]]), columns[~known], torch.zeros(1, int((~known).sum())))[0]
    assert float(torch.corrcoef(torch.stack([fitted.detach(), scores[~known]]))[0, 1]) > 0.9

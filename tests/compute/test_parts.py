"""What is made in parts, of copies as other processes get them, is what is made here, bit by bit."""

from pathlib import Path

import pytest
import torch

from assets.selection.raise_policy import pool_scorer
from resources.compute.this_machine import THIS_MACHINE
from tests.compute.copying import Copying
from tests.compute.matrix import difference, made_by


@pytest.mark.parametrize("stage", ["gradients", "gradient-alignment", "evaluation", "raise-scores"])
def test_three_workers_make_what_this_process_makes(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_scorer, "FEWEST_ROWS", 20_000)
    monkeypatch.setattr(pool_scorer, "PART", 2 * pool_scorer.ROWS_AT_ONCE)
    threads = torch.get_num_threads()
    try:
        expected, _ = made_by(THIS_MACHINE, stage, tmp_path)
        engine = Copying(3)
        found, _ = made_by(engine, stage, tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert engine.parts >= 6
    assert {name: difference(found[name], value) for name, value in expected.items()} == dict.fromkeys(
        expected, 0.0
    )


def test_workers_are_not_asked_to_score_a_small_pool() -> None:
    import numpy as np

    from assets.selection.raise_policy.acquisition import AcquisitionFunction
    from assets.selection.raise_policy.scoring import RowScorer, StaticFeatures

    engine = Copying(2)
    static = StaticFeatures(np.zeros((1000, 5), np.float32))
    with pool_scorer.scorers(static, engine) as scorer_of:
        assert isinstance(scorer_of(AcquisitionFunction(5, 4, 0)), RowScorer)
    assert engine.parts == 0

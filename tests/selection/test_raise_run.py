"""RAISE on the embedded language model, over a few rows and two mixes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_inputs import rewards, small_inputs

from assets.selection.alignment_scores import alignment_scores
from assets.selection.inputs import Inputs
from assets.selection.raise_policy.policy_file import load_policy
from assets.selection.raise_run import RaiseRun, run_raise
from resources.errors import SultanaError
from resources.language_model import LanguageModel

SMALL = RaiseRun(rounds=1, rollouts=1, baseline_rollouts=1)


@pytest.fixture(scope="module")
def model(models_folder: Path) -> LanguageModel:
    return LanguageModel(folder=models_folder, dtype="float32")


@pytest.fixture(scope="module")
def inputs(model: LanguageModel) -> Inputs:
    return small_inputs(model)


def test_what_is_left_open_is_the_presets_and_the_cap_is_the_budgets():
    guarded = RaiseRun().config(steps=4, batch_size=2, passes=3, seed=7)
    assert (guarded.maximum_repeats, guarded.seed, guarded.rounds) == (3, 7, 8)
    paper = RaiseRun(preset="paper").config(steps=4, batch_size=2, passes=3, seed=0)
    assert (paper.maximum_repeats, paper.rounds, paper.rollouts) == (None, 20, 1)
    changed = RaiseRun(rounds=2, changes={"ratio": "joint", "maximum_repeats": 9})
    config = changed.config(steps=4, batch_size=2, passes=3, seed=0)
    assert (config.rounds, config.ratio, config.maximum_repeats) == (2, "joint", 9)


def test_a_curriculum_of_the_language_model(inputs, tmp_path):
    given = replace(inputs, work=tmp_path / "work")
    saved = tmp_path / "policy"
    result = run_raise(given, replace(SMALL, save_policy=saved))
    assert [len(step.entries) for step in result.selections] == [2, 2]
    assert result.rounds[0].performances[0][0] == result.initial_performance < 0
    assert result.features.static.shape == (10, 36)
    assert result.baseline is not None
    assert inputs.spent.training_steps == 3 * 2
    again = run_raise(given, SMALL)  # from the state in the folder
    assert again.selections == result.selections and inputs.spent.training_steps == 3 * 2
    started = run_raise(inputs, replace(SMALL, rounds=0, initial_policy=saved))
    assert started.policy_sha256 == result.policy_sha256
    assert load_policy(saved).layout == result.features.layout


def test_scores_and_extra_columns_reach_the_policy(inputs):
    extra = np.linspace(0, 1, len(inputs.pool))
    scores = np.where(np.arange(len(extra)) == 4, np.nan, extra)
    settings = replace(
        SMALL, rounds=0, baseline_rollouts=0, reward_examples=3, changes={"warm_start_epochs": 5}
    )
    given, before = replace(inputs, rewards=rewards(5)), inputs.spent.reward_examples
    result = run_raise(given, settings, initial_scores=scores, extra=extra[:, None], extra_names=("value",))
    assert result.features.names[-1] == "value" and result.warm_start_error is not None
    # P_0, for the scores and for the run, two steps, and the error of P_0; each on three of the five examples.
    assert inputs.spent.reward_examples - before == 4 * 3
    assert result.reward_error is not None and result.reward_error.bound > 0


def test_gradients_are_taken_once_and_the_policy_fits_their_order(inputs):
    before = inputs.spent.rows_differentiated
    result = run_raise(inputs, replace(SMALL, aligned_rows=6, warm_up=1, baseline_rollouts=0))
    # Six rows, and the three reward examples for them.
    assert inputs.spent.rows_differentiated - before == 6 + 3
    assert result.warm_start_error is not None and result.warm_start_error < 1
    plain = run_raise(inputs, replace(SMALL, baseline_rollouts=0))
    assert plain.warm_start_error is None
    assert result.initial_performance == pytest.approx(plain.initial_performance, rel=1e-4)


def test_alignment_scores_are_of_some_rows_of_each_cluster(inputs):
    session = inputs.session()
    found = alignment_scores(inputs, session, list(inputs.reward_examples), rows=6, warm_up=2)
    assert session.step_number == 0
    known = np.isfinite(found)
    assert known.sum() == 6 and found[known].mean() == pytest.approx(0, abs=1e-9)
    assert set(inputs.pool.clusters[known]) == {0, 1}
    every = alignment_scores(inputs, session, list(inputs.reward_examples), rows=0, warm_up=2)
    assert np.isfinite(every).all()
    assert (np.argsort(every[known]) == np.argsort(found[known])).all()


def test_what_cannot_work_is_found_before_a_row_is_scored(model):
    made = small_inputs(model)
    for settings, named in (
        (replace(SMALL, changes={"gamma": 2.0}), "RAISE setting gamma"),
        (replace(SMALL, changes={"batch_size": 8}), "no setting batch_size"),
        (replace(SMALL, initial_policy=Path("/nowhere")), "no policy to start from"),
        (replace(SMALL, reward_examples=1), "stand for 2 tasks"),
        (replace(SMALL, measure_every=3), "measure every 3 of 2 steps"),
    ):
        with pytest.raises(SultanaError, match=named):
            run_raise(made, settings)
    with pytest.raises(SultanaError, match="split 'reward' has no example"):
        run_raise(replace(made, rewards=()), SMALL)

    with pytest.raises(SultanaError, match="the pool can run out"):
        run_raise(small_inputs(model, steps=6), SMALL)

    class Refusing:
        def check(self, rows) -> None:
            raise SultanaError("These rows cannot be mixed", "Take others", code="settings-conflict")

    object.__setattr__(made, "session", Refusing)
    with pytest.raises(SultanaError, match="These rows cannot be mixed"):
        run_raise(made, SMALL)
    assert made.spent.rows_scored == 0 and "auxiliary" not in made.__dict__

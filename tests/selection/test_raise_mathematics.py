"""RAISE's equations: state, selection within classes, PPO."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assets.selection.raise_policy.acquisition import AcquisitionFunction, policy_sha256, warm_start
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.ppo import (
    actor_loss,
    critic_loss,
    generalised_advantages,
    log_ratio,
    scaled_advantages,
)
from assets.selection.raise_policy.scoring import StaticFeatures
from assets.selection.raise_policy.select import GumbelNoise, quotas
from assets.selection.raise_policy.state import EarlierSelections, critic_features, fuse, stage_features
from resources.errors import SultanaError
from tests.selection.raise_reference import class_log_softmax, selected, selection_counts


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_fused_state_has_39_columns_and_the_network_needs_no_copy_of_it():
    function = AcquisitionFunction(36, 64, seed=0)
    static, counts = (
        drawn(1, 50, 36),
        torch.randint(0, 3, (2, 50), generator=torch.Generator().manual_seed(2)),
    )
    stage = stage_features([-1.5, -1.2], steps=2)
    assert stage.tolist() == [[-1.5, 0.5], [pytest.approx(-1.2), 1.0]]
    scores = function(stage, static, counts)
    for t in range(2):
        state = fuse(stage[t], static, counts[t])
        assert state.shape == (50, 39)
        by_hand = function.outer(torch.tanh(function.inner(state)))[:, 0]
        torch.testing.assert_close(scores[t], by_hand, rtol=1e-3, atol=1e-5)


def test_counts_are_those_of_the_history():
    actions = torch.tensor([[0, 2], [2, 1], [2, 0]])
    everywhere = torch.arange(4)
    for step, counts in enumerate([[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 2, 0]]):
        earlier = EarlierSelections.of(actions[:step])
        assert earlier.counts_of(everywhere).tolist() == counts == selection_counts(actions, 4)[step].tolist()
        assert earlier.used_up(2).tolist() == [row for row in range(4) if counts[row] == 2]
    places, counts = EarlierSelections.of(actions).within(1, 2)
    assert places.tolist() == [0, 1] and counts.tolist() == [1, 3]


def test_the_critic_sees_performance_gain_and_progress():
    seen = critic_features([-2.0, -1.5], steps=4)
    assert seen.tolist() == [[-2.0, 0.0, 0.25], [-1.5, 0.5, 0.5]]


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=9).filter(any),
    st.integers(1, 40),
    st.integers(0, 20),
)
def test_quotas_sum_to_the_batch_and_no_class_gives_more_than_it_has(available, batch_size, step):
    offered = torch.tensor(available)
    if offered.sum() < batch_size:
        with pytest.raises(SultanaError, match="offers"):
            quotas(offered, batch_size, step)
        return
    given_rows = quotas(offered, batch_size, step)
    assert int(given_rows.sum()) == batch_size
    assert bool((given_rows <= offered).all())
    # Even: a class gives less than another by two or more only where it has no more to give.
    short = given_rows < offered
    if short.any():
        assert int(given_rows.max()) - int(given_rows[short].min()) <= 1


def test_with_more_classes_than_rows_all_classes_have_their_turn():
    served = sum(quotas(torch.full((6,), 9), 4, step) for step in range(3))
    assert served.tolist() == [2] * 6


def test_probabilities_sum_to_1_within_each_class():
    scores = drawn(3, 2, 30) * 50
    classes = torch.arange(30) % 3
    allowed = drawn(4, 2, 30) > -1
    probabilities = class_log_softmax(scores, classes, allowed).exp()
    for i in range(3):
        torch.testing.assert_close(probabilities[:, classes == i].sum(1), torch.ones(2))
    assert bool((probabilities[~allowed] == 0).all())


def test_a_shift_of_one_classs_scores_changes_neither_selection_nor_ratio():
    scores, classes, counts = drawn(5, 40), torch.arange(40) % 4, torch.zeros(40)
    shifted = scores + torch.where(classes == 2, 7.0, 0.0)
    for noise in (None, GumbelNoise(11)):
        first = selected(scores, classes, counts, 10, 0, 1, noise)
        second = selected(shifted, classes, counts, 10, 0, 1, noise)
        assert first.rows.tolist() == second.rows.tolist()
        ratio = log_ratio(second.log_probabilities[None], first.log_probabilities[None], "joint").exp()
        assert float(ratio) == pytest.approx(1.0, abs=1e-5)


def test_the_best_rows_of_each_class_are_taken_and_ties_go_to_the_lower_position():
    scores = torch.tensor([1.0, 5.0, 5.0, 0.0, 2.0, 9.0, 3.0])
    classes = torch.tensor([7, 7, 7, 7, 3, 3, 3])
    batch = selected(scores, classes, torch.zeros(7), 3, step=1, rows_at_once=2)
    # Three rows of two classes: the odd one goes to the second class at step 1.
    assert batch.rows.tolist() == [5, 1, 2]
    assert batch.ranks.tolist() == [1, 1, 2]
    assert batch.available.tolist() == [3, 4, 4]
    assert batch.scores.tolist() == [9.0, 5.0, 5.0]


def test_a_small_class_gives_what_it_has_and_a_used_up_row_is_left_out():
    scores, classes = drawn(6, 20), torch.tensor([0] * 2 + [1] * 18)
    counts = torch.zeros(20)
    counts[0] = 1
    batch = selected(scores, classes, counts, 8, 0, 1)
    assert batch.rows[0] == 1 and 0 not in batch.rows.tolist()
    assert torch.bincount(classes[batch.rows]).tolist() == [1, 7]


def test_gumbel_noise_samples_from_the_classs_softmax():
    scores = torch.tensor([0.0, 1.0, 2.0])
    noise, classes, counts = GumbelNoise(0), torch.zeros(3, dtype=torch.int64), torch.zeros(3)
    draws = torch.tensor(
        [int(selected(scores, classes, counts, 1, step, 1, noise).rows) for step in range(4000)]
    )
    shares = torch.bincount(draws, minlength=3) / 4000
    torch.testing.assert_close(shares, torch.softmax(scores, 0), atol=0.03, rtol=0)


@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=12), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99)
)
def test_advantages_are_those_of_the_sum_in_equation_8(rewards, gamma, gae_lambda, seed):
    steps = len(rewards)
    reward, values = torch.tensor(rewards, dtype=torch.float64), drawn(seed, steps).double()
    advantages, returns = generalised_advantages(reward, values, gamma, gae_lambda)
    following = [*values.tolist()[1:], 0.0]
    deltas = [rewards[t] + gamma * following[t] - float(values[t]) for t in range(steps)]
    for t in range(steps):
        expected = sum((gamma * gae_lambda) ** k * deltas[t + k] for k in range(steps - t))
        assert float(advantages[t]) == pytest.approx(expected, abs=1e-9)
        assert float(returns[t]) == pytest.approx(expected + float(values[t]), abs=1e-9)


def test_per_step_advantages_do_not_reward_being_early():
    trend = torch.tensor([[3.0, 2.0, 1.0], [3.2, 1.9, 1.0]])
    scaled = scaled_advantages(trend, "per_step")
    torch.testing.assert_close(scaled.sum(0), torch.zeros(3), atol=1e-4, rtol=0)
    assert float(scaled[0, 0]) < 0 < float(scaled[0, 1])
    assert scaled_advantages(trend, "raw") is trend
    alone = scaled_advantages(trend[:1], "per_step")
    torch.testing.assert_close(alone, scaled_advantages(trend[:1], "normalised"))


def test_ratios_are_held_in_bounds_and_clipped():
    new, old = torch.tensor([[0.0, 0.0], [-1.0, -3.0]]), torch.tensor([[-100.0, -50.0], [-2.0, -3.0]])
    assert log_ratio(new, old, "joint").tolist() == [10.0, 1.0]
    assert log_ratio(new, old, "geometric").tolist() == [10.0, 0.5]
    up = torch.tensor([math.log(1.5)])
    assert float(actor_loss(up, torch.tensor([1.0]), 0.2)) == pytest.approx(-1.2)
    assert float(actor_loss(up, torch.tensor([-1.0]), 0.2)) == pytest.approx(1.5)
    assert float(critic_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))) == 2.0


def test_networks_follow_their_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, same, other = (AcquisitionFunction(36, 8, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert policy_sha256(first) == policy_sha256(same) != policy_sha256(other)
    with torch.no_grad():
        same.outer.bias += 1e-6
    assert policy_sha256(first) != policy_sha256(same)


def test_a_warm_start_ranks_rows_as_the_scores_do():
    columns = drawn(7, 200, 36)
    scores, static = columns @ drawn(8, 36) * 100 + 3, StaticFeatures(columns.numpy())
    function = AcquisitionFunction(36, 64, seed=0)
    error = warm_start(function, static, scores, -1.4, epochs=150, seed=0)
    assert error < 0.2
    fitted = function(torch.tensor([[-1.3, 0.5]]), columns, torch.zeros(1, 200))[0].detach()
    assert float(torch.corrcoef(torch.stack([fitted, scores]))[0, 1]) > 0.9
    with pytest.raises(SultanaError, match="all equal"):
        warm_start(function, static, torch.ones(200), -1.4, 1, 0)
    with pytest.raises(SultanaError, match="hold an infinite one"):
        warm_start(function, static, scores * math.inf, -1.4, 1, 0)
    with pytest.raises(SultanaError, match="known for 1 of 200 rows"):
        warm_start(function, static, scores.where(torch.arange(200) == 7, math.nan), -1.4, 1, 0)


def test_presets_are_those_of_the_paper_and_its_guards():
    paper = RaiseConfig.paper(steps=4, batch_size=2)
    assert (paper.actor_learning_rate, paper.critic_learning_rate, paper.rounds) == (0.1, 0.2, 20)
    assert (paper.exploration, paper.ratio, paper.maximum_repeats) == ("topk", "joint", None)
    assert (paper.gamma, paper.gae_lambda, paper.clip, paper.weight_decay) == (0.99, 1.0, 0.2, 1e-2)
    assert (paper.rollouts, paper.advantages, paper.keep_best, paper.select_every) == (1, "raw", False, 1)
    assert (paper.semantic_dimensions, paper.semantic_pooling) == (32, "adaptive")
    assert not (paper.standardise or paper.per_token) and paper.gradient_clip is None
    guarded = RaiseConfig.guarded(steps=4, batch_size=2, rounds=3)
    assert guarded == RaiseConfig(steps=4, batch_size=2, rounds=3)
    assert (guarded.maximum_repeats, guarded.rollouts, guarded.keep_best) == (1, 2, True)
    assert guarded.training_runs == 3 * 2 + 2 + 1
    assert guarded.digest() != paper.digest()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps", 0),
        ("rounds", 1.5),
        ("batch_size", True),
        ("gamma", 1.01),
        ("clip", float("nan")),
        ("maximum_repeats", 0),
        ("gradient_clip", -1.0),
        ("exploration", "greedy"),
    ],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(SultanaError, match=f"RAISE setting {setting} is"):
        RaiseConfig(**({"steps": 4, "batch_size": 2} | {setting: value}))


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 9))
def test_a_pool_that_passes_the_check_never_runs_dry(rows, steps, batch_size, cap, seed):
    config = RaiseConfig(steps=steps, batch_size=batch_size, maximum_repeats=cap)
    try:
        config.check_pool(rows)
    except SultanaError:
        return
    # The worst case for a cap: the same rows again and again.
    counts, scores = torch.zeros(rows), drawn(seed, rows)
    for step in range(steps):
        now = config.cap_at(step)
        batch = selected(scores, torch.zeros(rows, dtype=torch.int64), counts, batch_size, step, now)
        counts[batch.rows] += 1
        assert now is not None and int(counts.max()) <= now <= cap


def test_repeats_are_allowed_one_by_one_over_the_run():
    config = RaiseConfig(steps=6, batch_size=2, maximum_repeats=3)
    assert [config.cap_at(step) for step in range(6)] == [1, 1, 2, 2, 3, 3]
    assert [replace(config, spread_repeats=False).cap_at(step) for step in (0, 5)] == [3, 3]
    assert RaiseConfig.paper(steps=6, batch_size=2).cap_at(0) is None

"""A policy trained on one pool starts, or selects for, another."""

import json

import numpy as np
import pytest

from assets.selection.pool import Pool
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.features import Features, build_features
from assets.selection.raise_policy.policy import train_policy
from assets.selection.raise_policy.policy_file import MEANING, WEIGHTS, load_policy, save_policy
from resources.errors import SultanaError


class Planted:
    """A quarter of the rows teach what is measured; the more of them so far, the higher P. No noise."""

    def __init__(self, rows: int, seed: int, scale: float = 1.0) -> None:
        generator = np.random.default_rng(seed)
        self.planted = generator.random(rows) < 0.25
        # Two dimensions tell planted rows, behind a scale and an origin of the pool's own.
        self.hidden = generator.normal(size=(rows, 8))
        self.hidden[:, 2:4] += 2.0 * self.planted[:, None]
        self.hidden = scale * (self.hidden + seed)
        self.total = 0.0

    def reset(self) -> float:
        self.total = 0.0
        return -1.0

    def step(self, rows) -> float:
        chosen = list(rows)
        self.total += float(self.planted[chosen].mean())
        return -1.0 + 0.1 * self.total

    def inputs(self, **changes) -> tuple[Features, Pool]:
        rows = len(self.planted)
        lengths = np.random.default_rng(1).integers(3, 30, rows)
        given = {"semantic_dimensions": 8} | changes
        features = build_features(lengths, lengths, -1.0 * lengths, -2.0 * lengths, self.hidden, **given)
        names = [f"row-{i:06d}" for i in range(rows)]
        return features, Pool.build(names, ["original"] * rows, [0] * rows, lengths)


def settings(**changes) -> RaiseConfig:
    return RaiseConfig(**({"steps": 5, "batch_size": 8, "baseline_rollouts": 0, "rounds": 1} | changes))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy") / "small"
    small = Planted(150, seed=1)
    features, pool = small.inputs()
    result = train_policy(small, features, pool, settings(), initial_scores=small.planted.astype(float))
    save_policy(folder, result.function, features)
    return folder, result, features


def test_a_saved_policy_is_the_one_deployed(saved):
    folder, result, features = saved
    policy = load_policy(folder)
    assert policy.layout == features.layout
    np.testing.assert_array_equal(policy.scaling.means, features.scaling.means)
    np.testing.assert_array_equal(policy.scaling.deviations, features.scaling.deviations)
    small = Planted(150, seed=1)
    again = train_policy(small, *small.inputs(), settings(rounds=0), initial_policy=policy)
    assert again.policy_sha256 == result.policy_sha256
    assert [step.row_ids for step in again.selections] == [step.row_ids for step in result.selections]
    assert again.rounds == () and again.config.training_runs == 1


def test_a_policy_of_a_small_pool_finds_the_planted_rows_of_a_large_one(saved):
    """Another pool, ten times as large, whose hidden states have another scale and origin."""
    shares = []
    for policy in (None, load_policy(saved[0])):
        found = []
        for seed in range(3):
            large = Planted(1500, seed=20 + seed, scale=7.0)
            config = settings(rounds=0, seed=seed, steps=10)
            result = train_policy(large, *large.inputs(), config, initial_policy=policy)
            found.append(large.planted[result.episode.actions.flatten().numpy()].mean())
        shares.append(float(np.mean(found)))
    assert shares[1] > 0.8 > shares[0] + 0.2


def test_features_of_another_layout_are_refused(saved):
    policy, large = load_policy(saved[0]), Planted(300, seed=3)
    for changes, named in (
        ({"semantic_dimensions": 4}, "names = 12 columns"),
        ({"per_token": False}, "per_token = True; these have False"),
        ({"standardise": False}, "standardise = True; these have False"),
        ({"pooling": "pca"}, "principal components"),
        ({"extra": large.hidden[:, :1], "extra_names": ("loss",)}, r"these have 13 columns .*loss last"),
    ):
        with pytest.raises(SultanaError, match=named):
            train_policy(large, *large.inputs(**changes), settings(), initial_policy=policy)
    with pytest.raises(SultanaError, match="has 64 hidden units; RAISE setting hidden is 32"):
        train_policy(large, *large.inputs(), settings(hidden=32), initial_policy=policy)


def test_a_folder_without_a_sound_policy_is_named(saved, tmp_path):
    with pytest.raises(SultanaError, match="no policy to start from in"):
        load_policy(tmp_path)
    folder, result, features = saved
    with pytest.raises(SultanaError, match="exists already"):
        save_policy(folder, result.function, features)
    for name in (MEANING, WEIGHTS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    meaning = json.loads((tmp_path / MEANING).read_text())
    (tmp_path / MEANING).write_text(json.dumps(meaning | {"policy_sha256": "0" * 64}))
    with pytest.raises(SultanaError, match="weights are not those"):
        load_policy(tmp_path)

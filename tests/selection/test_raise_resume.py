"""A killed policy training goes on to the same end."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from assets.selection.pool import Pool
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.features import Features, build_features
from assets.selection.raise_policy.policy import RaiseResult, train_policy
from resources.errors import SultanaError

ROWS, STEPS, BATCH = 120, 4, 6
REPOSITORY = Path(__file__).parents[2]


class Regression:
    """Least squares by gradient descent on noisy rows."""

    def __init__(self, dies_after: int | None = None) -> None:
        generator = np.random.default_rng(0)
        self.hidden, self.truth = generator.normal(size=(ROWS, 8)), generator.normal(size=8)
        self.values = self.hidden @ self.truth + generator.normal(size=ROWS) * (np.arange(ROWS) % 2) * 5
        self.weights, self.steps, self.dies_after = np.zeros(8), 0, dies_after

    def performance(self) -> float:
        return -float(((self.weights - self.truth) ** 2).sum())

    def reset(self) -> float:
        self.weights = np.zeros(8)
        return self.performance()

    def step(self, rows) -> float:
        if self.steps == self.dies_after:
            os._exit(42)
        self.steps += 1
        chosen = list(rows)
        errors = self.hidden[chosen] @ self.weights - self.values[chosen]
        gradients = self.hidden[chosen] * errors[:, None]
        self.weights = self.weights - 0.1 * gradients.mean(0)
        return self.performance()


def inputs() -> tuple[Features, Pool]:
    lengths = np.full(ROWS, 9)
    environment = Regression()
    features = build_features(
        lengths,
        lengths,
        -np.abs(environment.values),
        -np.ones(ROWS),
        environment.hidden,
        semantic_dimensions=8,
    )
    names = [f"row-{i:05d}" for i in range(ROWS)]
    return features, Pool.build(names, ["original"] * ROWS, [i % 3 for i in range(ROWS)], lengths)


def trained(work: Path | None, dies_after: int | None = None, **changes) -> tuple[RaiseResult, Regression]:
    config = RaiseConfig(
        **({"steps": STEPS, "batch_size": BATCH, "rounds": 3, "warm_start_epochs": 5} | changes)
    )
    environment = Regression(dies_after)
    scores = np.where(np.arange(ROWS) % 3 == 0, np.nan, np.arange(ROWS))
    return train_policy(environment, *inputs(), config, initial_scores=scores, work=work), environment


RUNS = 3 * 2 + 1 + 2


@pytest.mark.parametrize("dies_after", [STEPS, 5 * STEPS + 2, 6 * STEPS + 1, 7 * STEPS + 3])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, dies_after):
    """Killed in the first round, in the last, in the deployed run, and in a random one."""
    whole, _ = trained(None)
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
    code += "from pathlib import Path\nfrom tests.selection.test_raise_resume import trained\n"
    code += f"trained(Path({str(tmp_path)!r}), {dies_after})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 42, done.stderr
    resumed, environment = trained(tmp_path)
    assert (
        environment.steps == RUNS * STEPS - dies_after + dies_after % STEPS
    )  # whole runs are not made again
    assert resumed.selections == whole.selections
    assert resumed.rounds == whole.rounds and resumed.baseline == whole.baseline
    assert resumed.episode.performances == whole.episode.performances
    assert resumed.warm_start_error == whole.warm_start_error
    assert resumed.policy_sha256 == whole.policy_sha256


def test_a_finished_training_is_not_made_again(tmp_path):
    whole, _ = trained(tmp_path)
    again, environment = trained(tmp_path)
    assert environment.steps == 0
    assert again.selections == whole.selections and again.baseline == whole.baseline
    assert len(list((tmp_path / "raise").iterdir())) == 1  # only the newest state is kept


def test_a_torn_state_is_passed_over_and_that_of_other_settings_refused(tmp_path):
    whole, _ = trained(tmp_path)
    with pytest.raises(SultanaError, match="belongs to a training with another configuration"):
        trained(tmp_path, seed=1)
    state = next((tmp_path / "raise").glob("step-*/state.json"))
    state.write_text(state.read_text()[:-40])
    again, environment = trained(tmp_path)
    assert environment.steps == RUNS * STEPS
    assert again.selections == whole.selections

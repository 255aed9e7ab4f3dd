"""What tracking is given of a training: metrics by step, and their plots.

The loss on the reward split is measured with that on the early-stopping split and decides nothing. A training
that is killed goes on after its last checkpoint, so what was measured before lies in a file beside it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from assets.finetuning.loop import TrainingResult

Draw = Callable[["Axes"], object]
EARLY_STOPPING_LOSS = "early_stopping_loss"
REWARD_LOSS = "reward_loss"


class MeasuredCurve:
    """Values by number of steps taken, which survive a kill of the process that measures them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[int, float] = {}
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            self._values = {int(step): float(value) for step, value in found.items()}

    def add(self, steps: int, value: float) -> None:
        """Keep a value; one of the same number of steps is replaced."""
        self._values[steps] = value
        write_atomically(self._path, json.dumps(self._values, sort_keys=True).encode())

    def at(self, measured: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        """The values at the places of another curve; those of a training before this one are left out."""
        return [(steps, self._values[steps]) for steps, _ in measured if steps in self._values]


def summary(result: "TrainingResult") -> dict[str, float | int]:
    """What a training came to, under the names that it has in Dagster and in MLflow alike."""
    return {
        "final_training_loss": result.final_loss,
        "trained_tokens": result.tokens,
        "mean_tokens_per_second": round(result.tokens / result.seconds, 1),
        "weights_of_step": result.best_step,
    }


def tracked_metrics(result: "TrainingResult", reward: Sequence[tuple[int, float]]) -> list[dict[str, float]]:
    """Metrics for MLflow: of each step, numbered from 0, of each measurement, after as many steps, and the summary."""
    steps = [
        {**step, "tokens_per_second": step["tokens"] / step["seconds"]} if step["seconds"] else step
        for step in result.step_metrics()
    ]
    curves = ((EARLY_STOPPING_LOSS, result.measures), (REWARD_LOSS, reward))
    measured = [{"step": float(done), name: value} for name, points in curves for done, value in points]
    return [*steps, *measured, {"step": float(len(result.steps)), **summary(result)}]


def loss_plot(result: "TrainingResult", reward: Sequence[tuple[int, float]]) -> Draw:
    """Draws the loss of the training batches and of both held-out splits."""
    return draw_losses([(one.step, one.loss) for one in result.steps], result.measures, reward)


def draw_losses(
    training: Sequence[tuple[int, float]],
    early_stopping: Sequence[tuple[int, float]],
    reward: Sequence[tuple[int, float]],
) -> Draw:
    """Draws losses by step, as MLflow holds them: of batches by their step from 0, of splits after as many steps."""

    def draw(axes: "Axes") -> None:
        axes.plot([step + 1 for step, _ in training], [loss for _, loss in training], label="training batch")
        for points, marker, label in (
            (early_stopping, "o", "early-stopping split"),
            (reward, "s", "reward split"),
        ):
            if points:
                axes.plot(*zip(*points, strict=True), marker=marker, label=label)

    return draw


def tracked_plots(
    result: "TrainingResult", reward: Sequence[tuple[int, float]], png: Callable[..., bytes]
) -> dict[str, bytes]:
    """Plots as PNG files of the MLflow run, by path. `png` is `presentation.png`."""
    steps = [one.step + 1 for one in result.steps]
    drawn: Mapping[str, tuple[Draw, str, str]] = {
        "loss": (loss_plot(result, reward), "Loss", "nats per token"),
        "learning_rate": (_line(steps, [one.learning_rate for one in result.steps]), "Learning rate", ""),
        "tokens_per_second": (
            _line(steps, [one.tokens / one.seconds if one.seconds else 0.0 for one in result.steps]),
            "Tokens per second",
            "",
        ),
        "gradient_norm": (
            _line(steps, [one.gradient_norm for one in result.steps]),
            "Norm of the gradient",
            "",
        ),
    }
    return {
        f"plots/{name}.png": png(draw, title, "optimizer step", unit, (7.2, 3.6))
        for name, (draw, title, unit) in drawn.items()
    }


def _line(steps: Sequence[int], values: Sequence[Any]) -> Draw:
    def draw(axes: "Axes") -> None:
        axes.plot(steps, values)

    return draw

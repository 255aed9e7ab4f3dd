"""The figures of a report, each an SVG element."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from assets.evaluation.paired import Difference
from assets.finetuning.curves import EARLY_STOPPING_LOSS, REWARD_LOSS, draw_losses
from assets.presentation import COLOURS, STEP, one_plot, svg
from assets.selection.plots import draw_curriculum
from resources.text import escape_terminal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[int, float]]
TRAINING_LOSS, LEARNING_RATE = "loss", "learning_rate"
CURVES = (TRAINING_LOSS, EARLY_STOPPING_LOSS, REWARD_LOSS, LEARNING_RATE)
"""Metrics of the MLflow run that are drawn."""


def loss_figure(curves: Mapping[str, Points]) -> str | None:
    """Losses over the optimizer steps; None where the run has none."""
    if not curves.get(TRAINING_LOSS):
        return None
    draw = draw_losses(
        curves[TRAINING_LOSS], curves.get(EARLY_STOPPING_LOSS, ()), curves.get(REWARD_LOSS, ())
    )
    return svg(
        lambda figure: one_plot(figure, draw, "Loss", STEP, "nats per token"), (7.2, 3.2), TRAINING_LOSS
    )


def learning_rate_figure(curves: Mapping[str, Points]) -> str | None:
    """The learning rate over the steps; None where the run has none."""
    points = curves.get(LEARNING_RATE)
    if not points:
        return None

    def draw(axes: "Axes") -> None:
        axes.plot([step + 1 for step, _ in points], [value for _, value in points])

    return svg(lambda figure: one_plot(figure, draw, "Learning rate", STEP, ""), (7.2, 2.0), LEARNING_RATE)


def chosen_figure(ledger: pa.Table, tasks: Mapping[str, str]) -> str:
    """Clusters, tasks and repeats of the rows of each step."""
    return svg(
        lambda figure: draw_curriculum(figure, ledger, title="", tasks=tasks),
        (7.2, 7.2),
        "curriculum",
    )


def differences_figure(differences: Mapping[str, Difference], own: str, benchmark: str, metric: str) -> str:
    """Differences from the base model with their intervals, a line each; the line `own` is marked."""
    names = list(differences)[::-1]

    def draw(axes: "Axes") -> None:
        for place, name in enumerate(names):
            one = differences[name]
            axes.errorbar(
                one.mean,
                place,
                xerr=[[one.mean - one.low], [one.high - one.mean]],
                fmt="o",
                capsize=4,
                color=COLOURS[0] if name == own else COLOURS[5],
            )
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(names)), [escape_terminal(name, 40) for name in names], fontsize=9)
        axes.set_ylim(-0.6, len(names) - 0.4)

    def fill(figure: Any) -> None:
        one_plot(figure, draw, "", f"{metric} − that of the base model", "")

    return svg(fill, (7.2, 0.9 + 0.34 * len(names)), f"{benchmark} {metric}")

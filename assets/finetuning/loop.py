"""Training on a ledger of batches, with checkpoints that a killed run continues from bit for bit.

Whatever the result depends on is in the digest of a checkpoint: configuration, base model and every token
and weight of every batch, and how many processes share them. A run that finds a finished checkpoint in its
folder returns its result at once. Where several processes train, all call `train` with the same arguments; the
first holds the lock, writes the checkpoints and decides, and the others wait for it.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.finetuning.checkpoints import Checkpoint, CheckpointFolder
from assets.finetuning.devices import from_first, process_number
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_row import StepMetrics, TrainingRow
from assets.identity import digest
from resources.errors import SultanaError
from resources.files import exclusive_lock

SHOWN_SECONDS = 90.0
"""How long a folder that is shared over a network may hide a checkpoint that the first process has written."""


@dataclass(frozen=True)
class EarlyStopping:
    """Measure every `every` steps; stop after `patience` measures without a gain of `minimum_gain`.

    `measure` returns a loss: smaller is better. It must leave the session as it finds it. The weights of
    the best measure are the result. With `at_start` it is taken before the first step as well, to be
    looked at: the weights of then are no result.
    """

    every: int
    patience: int
    measure: Callable[[TrainingSession], float]
    minimum_gain: float = 0.0
    at_start: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave. The session holds the weights of `best_step` steps."""

    steps: tuple[StepMetrics, ...]
    measures: tuple[tuple[int, float], ...]  # (steps taken, early-stopping loss)
    best_step: int  # steps taken by the weights that the session holds
    stopped_early: bool
    tokens: int
    seconds: float  # of the steps, all runs together
    resumed_from: int | None  # steps taken by the checkpoint that this run started from
    data_digest: str

    @property
    def final_loss(self) -> float:
        """The training loss of the last step."""
        return self.steps[-1].loss

    def step_metrics(self) -> list[dict[str, float]]:
        """One flat dictionary a step, for tracking: `step`, `loss`, `tokens`, ..."""
        return [
            {name: float(value) for name, value in asdict(step).items() if isinstance(value, int | float)}
            for step in self.steps
        ]


def batches_digest(batches: Sequence[Sequence[TrainingRow]]) -> str:
    """SHA-256 of all that training reads of its batches: tokens, labels, λ, alignment, weights, order."""
    value = hashlib.sha256()
    for batch in batches:
        value.update(f"batch {len(batch)}\n".encode())
        for row in batch:
            mixed = f"{row.mixing!r} {row.alignment} {row.layer}"
            value.update(f"row {row.row_id} {mixed} {row.weight!r} {len(row.parents)}\n".encode())
            for parent in row.parents:
                value.update(f"parent {parent.row_id} {len(parent)} {parent.response_start}\n".encode())
                value.update(np.ascontiguousarray(parent.ids, np.int32).tobytes())
                value.update(np.packbits(parent.trained).tobytes())
    return value.hexdigest()


def train(
    session: TrainingSession,
    batches: Sequence[Sequence[TrainingRow]],
    folder: Path,
    *,
    every: int,
    keep: int = 2,
    on_step: Callable[[StepMetrics], None] | None = None,
    early_stopping: EarlyStopping | None = None,
) -> TrainingResult:
    """Train on the batches in order, from the newest verified checkpoint in `folder` or from M_0.

    A checkpoint is written every `every` steps and at the end; the newest `keep` and the best are kept.
    Raises SultanaError where the number of batches is not the session's, where the model cannot take rows
    that are mixed as these, where another process trains in `folder`, or where its checkpoints belong to
    another training. `on_step` is called by the first process only, `measure` by all, for the first to decide.
    """
    if len(batches) != session.total_steps:
        raise SultanaError(
            f"There are {len(batches)} batches for {session.total_steps} steps",
            "Make the session with as many steps as there are batches",
            code="shapes-differ",
        )
    if every < 1:
        raise SultanaError(
            f"A checkpoint every {every} steps is not possible",
            "Set it to 1 or more",
            code="setting-out-of-bounds",
        )
    session.check(row for batch in batches for row in batch)
    data = batches_digest(batches)
    rules = (
        None
        if early_stopping is None
        else [early_stopping.every, early_stopping.patience, early_stopping.minimum_gain]
    )
    number, count = process_number()
    shared = [] if count == 1 else [{"processes": count, "sharding": session.sharding}]
    run_digest = digest([session.config_digest, data, rules, *shared])
    run = _Run(session, run_digest, CheckpointFolder(folder), keep)
    with contextlib.ExitStack() as stack:
        if number == 0:
            stack.enter_context(exclusive_lock(folder / ".lock", timeout=1.0))
        resumed_from = run.resume()
        if early_stopping is not None and early_stopping.at_start and session.step_number == 0:
            run.measure_start(early_stopping)
        while run.is_going():
            metrics = session.step(batches[session.step_number])
            run.history.append(metrics)
            if on_step is not None and number == 0:
                on_step(metrics)
            improved = run.measure(early_stopping)
            done = session.step_number
            if improved or done % every == 0 or not run.is_going():
                run.save()
        run.restore_best()
    return TrainingResult(
        steps=tuple(run.history),
        measures=tuple(run.measures),
        best_step=session.step_number,
        stopped_early=run.stopped,
        tokens=sum(step.tokens for step in run.history),
        seconds=sum(step.seconds for step in run.history),
        resumed_from=resumed_from,
        data_digest=data,
    )


class _Run:
    """The part of a training that is saved with each checkpoint beside the session's state."""

    def __init__(
        self, session: TrainingSession, run_digest: str, checkpoints: CheckpointFolder, keep: int
    ) -> None:
        self.session = session
        self.digest = run_digest
        self.checkpoints = checkpoints
        self.keep = keep
        self.history: list[StepMetrics] = []
        self.measures: list[tuple[int, float]] = []
        self.best: tuple[int, float] | None = None
        self.stopped = False

    def is_going(self) -> bool:
        return not self.stopped and self.session.step_number < self.session.total_steps

    def resume(self) -> int | None:
        """Load the newest verified checkpoint, or start from M_0."""
        found: Checkpoint | None = None
        if process_number()[0] == 0:
            found = self.checkpoints.latest_verified(self.digest)
        step = round(self._from_first(-1 if found is None else found.step))
        if step < 0:
            self.session.reset()
            return None
        found = found or self._checkpoint_of(step)
        state = self.checkpoints.load(found)
        self.session.load_state_dict(state)
        run: dict[str, Any] = state["numbers"]["run"]
        self.history = [StepMetrics(**step) for step in run["history"]]
        self.measures = [(int(step), float(value)) for step, value in run["measures"]]
        self.best = None if run["best"] is None else (int(run["best"][0]), float(run["best"][1]))
        self.stopped = bool(run["stopped"])
        return found.step

    def measure_start(self, rule: EarlyStopping) -> None:
        """Measure M_0, which is not among those of which the best is kept."""
        self.measures.append((0, self._from_first(float(rule.measure(self.session)))))

    def measure(self, rule: EarlyStopping | None) -> bool:
        """Measure where it is due; whether this is the best so far."""
        done = self.session.step_number
        if rule is None or (done % rule.every and done < self.session.total_steps):
            return False
        value = self._from_first(float(rule.measure(self.session)))
        self.measures.append((done, value))
        if self.best is None or value < self.best[1] - rule.minimum_gain:
            self.best = (done, value)
            return True
        since = [step for step, _ in self.measures if step > self.best[0]]
        self.stopped = len(since) >= rule.patience
        return False

    def save(self) -> None:
        state = self.session.state_dict()
        state["numbers"]["run"] = {
            "history": [asdict(step) for step in self.history],
            "measures": self.measures,
            "best": self.best,
            "stopped": self.stopped,
        }
        if process_number()[0] == 0:
            self.checkpoints.save(self.session.step_number, state, self.digest)
            always = frozenset() if self.best is None else frozenset([self.best[0]])
            self.checkpoints.prune(self.keep, always)
        self._from_first(0.0)  # nobody goes on before it is written

    def restore_best(self) -> None:
        """Put the weights of the best measure into the session."""
        if self.best is None or self.best[0] == self.session.step_number:
            return
        self.session.load_state_dict(self.checkpoints.load(self._checkpoint_of(self.best[0])))

    def _checkpoint_of(self, step: int) -> Checkpoint:
        """The checkpoint that the first process has; a shared folder may show it to another machine late."""
        deadline = time.monotonic() + SHOWN_SECONDS
        while True:
            if found := [one for one in self.checkpoints.all() if one.step == step]:
                return found[0]
            if time.monotonic() > deadline:
                raise SultanaError(
                    f"The checkpoint of step {step} is not seen in {self.checkpoints.root}",
                    "Let all processes train in one folder that all of them see",
                    code="checkpoint-unreadable",
                )
            time.sleep(0.1)

    def _from_first(self, number: float) -> float:
        return from_first(number, self.session.decoder.device)

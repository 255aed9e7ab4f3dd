"""What was run: a line of JSON a run, appended so that several processes may share the file; and MLflow.

A run is known by a hash of all that decides it. `claimed` keeps two processes from doing the same one.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from assets.identity import digest

Line = dict[str, Any]


def run_id(identity: Mapping[str, Any]) -> str:
    """The name of the run that these settings decide."""
    return digest(dict(identity))[:16]


class Results:
    """The lines of one file; a line cut off by a kill is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def lines(self) -> list[Line]:
        """The last line of every run, in the order in which runs were first written."""
        found: dict[Any, Line] = {}
        if self.path.exists():
            for text in self.path.read_text(encoding="utf-8").split("\n"):
                with contextlib.suppress(json.JSONDecodeError):
                    line = json.loads(text)
                    found[line["run"]] = line
        return list(found.values())

    def append(self, line: Line) -> None:
        """Adds a line in one write, on a line of its own whatever was cut off before it."""
        text = json.dumps(line, ensure_ascii=False)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(handle).st_size
            whole = not size or os.pread(handle, 1, size - 1) == b"\n"
            os.write(handle, f"{'' if whole else chr(10)}{text}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def claimed(self, run: str) -> Iterator[bool]:
        """Whether this process may do the run: False where another is at it. A killed process lets go."""
        folder = self.path.parent / "claims"
        folder.mkdir(exist_ok=True)
        path = folder / run
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(handle)


def log_to_mlflow(folder: Path, experiment: str, line: Line, step_losses: Sequence[float]) -> None:
    """The run in the local MLflow store in `folder`; logging the same again changes nothing.

    A run made again by other code is another MLflow run: what was logged of the first one cannot be changed.
    """
    from resources.publishing import experiment_id, find_or_create_run, log_training
    from resources.tracking import Tracking

    tracking = Tracking(None, folder, experiment=experiment)
    texts = ("pool", "reward", "strategy", "arm", "seed", "settings", "options", "commit")
    with tracking.client() as client:
        known = experiment_id(client, experiment, folder.resolve() / "artifacts")
        name = " ".join(str(line[one]) for one in ("pool", "reward", "arm", "seed") if line[one] is not None)
        run = find_or_create_run(
            client, known, digest([line["run"], line["commit"]]), name, {"sultana.experiment": experiment}
        )
        steps: list[dict[str, float]] = [
            {"step": number, "training_loss": loss} for number, loss in enumerate(step_losses)
        ]
        steps.append({"step": len(step_losses), **dict(_numbers("", line))})
        log_training(client, run, {one: line[one] for one in texts}, steps, [], {})
        if run.info.status != "FINISHED":
            client.set_terminated(run.info.run_id, "FINISHED")


def _numbers(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers in nested mappings, as names with dots."""
    for name, value in values.items():
        if name in ("settings", "options", "seed", "facts"):
            continue
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}{name}.", value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)

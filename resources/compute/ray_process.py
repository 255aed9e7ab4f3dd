"""What Ray runs of a process group: the processes, where they tell what they tell, and Ray Train around them.

Ray is imported in functions alone: this module is pickled by its name, and read on every node.
"""

import asyncio
import contextlib
import importlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.compute.alike import check_alike
from resources.compute.boundary import Message
from resources.errors import SultanaError

BEGUN = "begun"
"""Told by each process before its work: its number, machine and process id."""

PATIENCE_SECONDS = 7200
"""How long a process waits for the others, for instance while the first writes a checkpoint."""

SHARED_SECONDS = 30.0
"""How long a folder that is shared over a network may take to show a new file."""

_START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
_PREEMPTION = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
"""Waits, before a node goes that is taken away, for a checkpoint that its training is told to write: ours is not."""

_NO_ROOM = ("WorkerGroupStartupTimeoutError", "InsufficientClusterResourcesError")
_MAY_PASS = ("lock-held",)
"""Errors that a process of the attempt before may be the cause of, which ends in a moment."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to do the work of a group, as its processes are given it.

    `folder`/`name` is a file with `nonce` in it. `mailbox` is the actor that takes what is told.
    """

    module: str
    folder: str
    name: str
    nonce: str
    facts: dict[str, str]
    mailbox: Any
    count: int
    cpus: float
    gpus: float
    wait_seconds: float


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: well, or by an error of the user's, or because of `lost`."""

    error: SultanaError | None = None
    lost: str = ""
    no_room: bool = False


class Mailbox:
    """Messages of one attempt, in the order in which they came: an actor beside the process that waits for them.

    Each attempt has one of its own, so what a process of an earlier one still tells is read by nobody.
    """

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._arrived = asyncio.Event()

    async def tell(self, message: Message) -> None:
        """Adds a message."""
        self._messages.append(message)
        self._arrived.set()

    async def take(self, seconds: float) -> list[Message]:
        """All messages that are there; waits at most `seconds` for a first one."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), seconds)
        self._arrived.clear()
        found, self._messages = self._messages, []
        return found


def process(given: dict[str, Attempt]) -> None:
    """One process of the group: Ray Train's training function. torch.distributed is there already."""
    import ray
    import torch

    from resources.environment import apply_safe_defaults

    apply_safe_defaults()
    attempt, machine = given["attempt"], socket.gethostname()

    def tell(kind: str, value: Any, done: int = 0) -> None:
        ray.get(attempt.mailbox.tell.remote({kind: value, "done": done}))

    check_alike(attempt.facts, machine)
    check_shared(Path(attempt.folder), attempt.name, attempt.nonce, machine)
    number = torch.distributed.get_rank()
    tell(BEGUN, {"number": number, "machine": machine, "process": os.getpid()})
    torch.distributed.barrier()  # nobody begins before all have been found fit
    importlib.import_module(attempt.module).work(Path(attempt.folder), tell)


def check_shared(folder: Path, name: str, nonce: str, machine: str) -> None:
    """Raise SultanaError unless `folder` is the one in which another machine wrote `nonce`, and may be written."""
    deadline = time.monotonic() + SHARED_SECONDS
    while _text(folder / name) != nonce:
        if time.monotonic() > deadline:
            raise SultanaError(
                f"The node {machine} does not see the folder {folder} of the machine that asked for the training",
                "Put it on a file system that all nodes mount at the same path, and name it by "
                "resources.compute.config.shared_folder; Ray has to run as the same user there",
                code="folder-not-shared",
            )
        time.sleep(0.5)
    if not os.access(folder, os.W_OK):
        raise SultanaError(
            f"The node {machine} may not write into the folder {folder}, where checkpoints of the training go",
            "Let the user that Ray runs as write there",
            code="permission-denied",
        )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, PermissionError):  # new files are the user's alone
        return None


def fit(attempt: Attempt) -> Ended:
    """Ray Train, once, without replacing lost processes: whoever waits decides on another attempt."""
    os.environ |= {_START_TIMEOUT: str(attempt.wait_seconds), _PREEMPTION: "0"}
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    each = {"CPU": attempt.cpus} | ({"GPU": attempt.gpus} if attempt.gpus else {})
    trainer = TorchTrainer(
        process,
        train_loop_config={"attempt": attempt},
        torch_config=TorchConfig(timeout_s=PATIENCE_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=attempt.count, use_gpu=attempt.gpus > 0, resources_per_worker=each
        ),
        run_config=RunConfig(
            name=f"ray-train-{attempt.name}",
            storage_path=attempt.folder,
            failure_config=FailureConfig(
                max_failures=0, controller_failure_limit=0, max_preemption_failures=0
            ),
        ),
    )
    try:
        trainer.fit()
    except ControllerError as error:
        cause = error.controller_failure
        return Ended(lost=_short(cause), no_room=type(cause).__name__ in _NO_ROOM)
    except TrainingFailedError as error:
        failures: dict[int, Exception] = getattr(error, "worker_failures", {})
        for _, failure in sorted(failures.items()):
            if isinstance(failure, SultanaError) and failure.code not in _MAY_PASS:
                return Ended(error=failure)
        reasons = [f"process {number}: {_short(failure)}" for number, failure in sorted(failures.items())]
        return Ended(lost="; ".join(reasons[:4]) or _short(error))
    return Ended()


def _short(error: Exception) -> str:
    return f"{type(error).__name__}, {' '.join(str(error).split())}"[:200]

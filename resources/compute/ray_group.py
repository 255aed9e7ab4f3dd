"""A process group on a Ray cluster: Ray Train's TorchTrainer, attempt after attempt.

Ray Train runs in a task of this process's job, and its processes are actors that belong to it: when this
process ends, however it does, the cluster ends them. Where a process or a node is lost, all are started again and
go on from what the work has left in its folder. Ray Train would do that itself, but counts losses over the whole
training and takes an error of the user's for one; here a group is given up that is lost `TRIES` times in a row
without having got further, and an error of the user's ends it at once.
"""

import contextlib
import logging
import secrets
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.compute.alike import code_facts
from resources.compute.boundary import Message
from resources.compute.ray_process import BEGUN, Attempt, Ended, Mailbox, fit
from resources.errors import SultanaError

_LOG = logging.getLogger(__name__)

TRIES = 4
"""Attempts in a row that may be lost without getting further."""

POLL_SECONDS = 1.0
END_SECONDS = 30.0
_NODE = "ray.io/node-id"


@dataclass
class Progress:
    """How far a group has got, and how often in a row it was lost without getting further."""

    furthest: int = 0
    before: int = 0
    tries: int = 0

    def lost(self) -> int:
        """How many attempts in a row have got no further, with one that has just been lost."""
        self.tries = 1 if self.furthest > self.before else self.tries + 1
        self.before = self.furthest
        return self.tries


def ray_group(
    ray: Any, module: str, folder: Path, count: int, *, cpus: float, gpus: float, wait_seconds: float
) -> Generator[Message]:
    """See `boundary.Compute.process_group`. `folder` has to be one that all nodes see at the same path."""
    progress = Progress()
    while True:
        name, nonce = secrets.token_hex(8), secrets.token_hex(16)
        (folder / name).write_text(nonce, encoding="utf-8")
        here = {_NODE: ray.get_runtime_context().get_node_id()}
        mailbox = ray.remote(num_cpus=0, label_selector=here)(Mailbox).remote()
        attempt = Attempt(
            module, str(folder), name, nonce, code_facts(), mailbox, count, cpus, gpus, wait_seconds
        )
        try:
            task = ray.remote(num_cpus=0, max_retries=0, label_selector=here)(fit).remote(attempt)
            ended = yield from _messages(ray, task, mailbox, progress)
        finally:
            ray.kill(mailbox)
        if ended.error is not None:
            raise ended.error
        if ended.no_room:
            raise SultanaError(
                f"No room for {count} processes was found for {wait_seconds:,.0f} s: the cluster has too few "
                f"nodes with {cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "") + " free",
                "Free the cluster or add nodes, or lower processes, cpus_per_worker and gpus_per_worker",
                code="ray-no-room",
            )
        if not ended.lost:
            return
        if progress.lost() >= TRIES:
            raise SultanaError(
                f"A training process failed {TRIES} times without getting further ({ended.lost})",
                "Look at Ray's logs of that process, then run the step again: it goes on from the last checkpoint",
                code="training-process-failed",
            )
        _LOG.warning("A process of the training is gone, and all are started again (%s)", ended.lost)


def _messages(ray: Any, task: Any, mailbox: Any, progress: Progress) -> Generator[Message, None, Ended]:
    """What is told until the attempt has ended, and how it ended."""
    running = True
    try:
        while True:
            ready, _ = ray.wait([task], timeout=0)
            told = ray.get(mailbox.take.remote(0 if ready else POLL_SECONDS))
            for message in told:
                progress.furthest = max(progress.furthest, int(message["done"]))
                if BEGUN in message:
                    _LOG.info("Process %(number)d is process %(process)d on %(machine)s", message[BEGUN])
                yield message
            if ready and not told:
                running = False
                return _ended(ray, task)
    except ray.exceptions.RayActorError as error:  # the mailbox is gone
        return Ended(lost=" ".join(str(error).split())[:300])
    finally:
        if running:  # whoever reads has had enough
            _end(ray, task)


def _ended(ray: Any, task: Any) -> Ended:
    try:
        found: Ended = ray.get(task)
    except ray.exceptions.RayError as error:
        return Ended(lost=" ".join(str(error).split())[:300])
    return found


def _end(ray: Any, task: Any) -> None:
    """Ends Ray Train, by its own interrupt where it heeds it, and with it the processes."""
    ray.cancel(task)
    ready, _ = ray.wait([task], timeout=END_SECONDS)
    if not ready:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.cancel(task, force=True)

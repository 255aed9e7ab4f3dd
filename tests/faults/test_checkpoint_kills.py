"""R10: the writer of checkpoints is killed at any moment. What is chosen always loads, and nothing newer is lost."""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from assets.finetuning.checkpoints import CheckpointFolder
from resources import files
from resources.files import sha256_file
from tests.faults.counts import SEED, tell
from tests.faults.launched import kills

DIGEST = "d"


def state(step: int, values: int = 100_000) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        f"{name}/{part}": torch.randn(values, generator=generator)
        for name in ("exp_avg", "exp_avg_sq", "weights")
        for part in range(3)
    }
    return {"tensors": tensors, "numbers": {"step": step, "run": {"history": list(range(step))}}}


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return found["numbers"] == expected["numbers"] and all(
        torch.equal(found["tensors"][name], value) for name, value in expected["tensors"].items()
    )


def write_until_killed(root: Path, acknowledged: Path, step: int, reaching: int = 10**9) -> None:
    """Checkpoints of one step after the other; the number of each is noted once `save` has returned."""
    folder = CheckpointFolder(root)
    while step < reaching:
        step += 1
        folder.save(step, state(step), DIGEST)
        with acknowledged.open("a") as file:
            file.write(f"{step}\n")
        folder.prune(2, always=frozenset([1]))


def forked(root: Path, acknowledged: Path, step: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            write_until_killed(root, acknowledged, step)
        finally:
            os._exit(1)
    return child


def test_the_chosen_checkpoint_can_always_be_loaded(tmp_path: Path) -> None:
    torch.set_num_threads(1)  # a forked child has none of the threads of its parent
    root, acknowledged = tmp_path / "checkpoints", tmp_path / "acknowledged"
    write_until_killed(root, acknowledged, 0, reaching=2)
    draw, count = random.Random(SEED), kills(20)
    began = time.monotonic()
    state(1)
    took = time.monotonic() - began
    partial = 0
    for number in range(count):
        known = int(acknowledged.read_text().split()[-1])
        child = forked(root, acknowledged, known)
        # From the first write of the next checkpoint on, some way into the one or two after it.
        time.sleep(took + draw.uniform(0, 0.15))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        partial += bool(list(root.glob(".partial-*")))

        folder = CheckpointFolder(root)
        chosen = folder.latest_verified(DIGEST)
        last = int(acknowledged.read_text().split()[-1])
        assert chosen is not None and last <= chosen.step <= last + 1, f"seed {SEED}, kill {number}"
        assert same(folder.load(chosen), state(chosen.step)), f"seed {SEED}, kill {number}"
        # What a resumed training does: it writes the next one, over whatever was left.
        write_until_killed(root, acknowledged, chosen.step, reaching=chosen.step + 1)
        assert not list(root.glob(".partial-*"))
    assert partial > count // 10
    tell(f"seed {SEED}: {count} kills, {partial} of them within a checkpoint; step {last}")


@pytest.mark.parametrize("named", ["rename", "sync_path", "sha256_file", "save_file"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_at_each_step_of_writing_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, nth: int
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, state(1, 1000), DIGEST)
    child = os.fork()
    if child == 0:
        calls = 0

        def killed(real: Any) -> Any:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == nth:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return call

        from assets.finetuning import checkpoints

        if named == "rename":
            Path.rename = killed(Path.rename)  # type: ignore[method-assign]
        elif named == "sync_path":
            files.sync_path = killed(files.sync_path)
        elif named == "sha256_file":
            checkpoints.sha256_file = killed(sha256_file)  # type: ignore[attr-defined]
        else:
            checkpoints.save_file = killed(checkpoints.save_file)  # type: ignore[attr-defined]
        folder.save(2, state(2, 1000), DIGEST)
        folder.save(3, state(3, 1000), DIGEST)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    chosen = folder.latest_verified(DIGEST)
    # Each checkpoint is renamed and its file of tensors written once, the others more often.
    expected = nth if named in ("rename", "save_file") else 1
    assert chosen is not None and chosen.step == expected
    assert same(folder.load(chosen), state(chosen.step, 1000))
    done = json.loads((chosen.folder / "DONE.json").read_text())
    assert all(sha256_file(chosen.folder / name) == value for name, value in done["files"].items())

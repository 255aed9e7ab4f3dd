import json
from pathlib import Path
from typing import Any

import pytest
import torch

from assets.finetuning.checkpoints import DONE, NUMBERS, STATE, CheckpointFolder
from resources.errors import SultanaError


def state(value: float) -> dict[str, Any]:
    return {"tensors": {"w": torch.full((3, 4), value)}, "numbers": {"step": 1, "value": value}}


def test_the_newest_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    assert folder.latest_verified("d") is None
    for step in (2, 10, 9):
        folder.save(step, state(step), "d")
    found = folder.latest_verified("d")
    assert found is not None and found.step == 10
    loaded = folder.load(found)
    assert torch.equal(loaded["tensors"]["w"], torch.full((3, 4), 10.0)) and loaded["numbers"]["value"] == 10


@pytest.mark.parametrize("name", [DONE, STATE, NUMBERS])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "empty"])
def test_a_torn_checkpoint_is_never_loaded(tmp_path: Path, name: str, damage: str) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, state(1), "d")
    torn = folder.save(2, state(2), "d")
    path = torn.folder / name
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"cut": data[:-9], "flipped": data, "empty": b""}[damage])
    found = folder.latest_verified("d")
    if name == DONE and damage == "flipped":  # the flipped bit may hit the step, which nothing relies on
        assert found is None or found.step in (1, 2)
        return
    assert found is not None and found.step == 1
    with pytest.raises(SultanaError, match="cannot be used"):
        folder.load(torn)
    folder.save(2, state(2), "d")  # the step is taken again and replaces it
    again = folder.latest_verified("d")
    assert again is not None and again.step == 2


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, state(1), "d")
    with pytest.raises(SultanaError, match="belongs to a training with another"):
        folder.latest_verified("e")


def test_left_overs_of_killed_writers_are_passed_over_and_pruned(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in range(1, 6):
        folder.save(step, state(step), "d")
    (tmp_path / ".partial-step-00000009").mkdir()
    (tmp_path / "step-latest").mkdir()
    (tmp_path / "step-00000099").symlink_to(tmp_path / "step-00000001", target_is_directory=True)
    found = folder.latest_verified("d")
    assert found is not None and found.step == 5
    folder.prune(2, always=frozenset([1]))
    assert [checkpoint.step for checkpoint in folder.all()] == [1, 4, 5]
    assert not list(tmp_path.glob(".partial*"))


def test_nothing_is_pickled(tmp_path: Path) -> None:
    saved = CheckpointFolder(tmp_path).save(1, state(1), "d")
    assert sorted(path.name for path in saved.folder.iterdir()) == [DONE, NUMBERS, STATE]
    manifest = json.loads((saved.folder / DONE).read_text())
    assert set(manifest["files"]) == {NUMBERS, STATE} and manifest["digest"] == "d"

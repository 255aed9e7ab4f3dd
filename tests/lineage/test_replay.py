"""`sultana audit --replay` on a real checkpoint, and what counts as a difference."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from orchestration.auditing import audit, holds
from orchestration.replaying import differences


def test_training_again_gives_the_same_weights(
    registered_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(registered_data))
    found = audit("sultana/1", replayed=True)
    again = found["replay"]
    assert again["bit_equal"] and again["bit_equal_tensors"] == again["tensors"] > 0
    assert again["reproduced"] and again["environment_differs"] == [] and again["steps"] == 2
    assert holds(found) and not list((registered_data / "tmp").glob("replay-*"))


def test_weights_differ_by_the_largest_of_their_differences(tmp_path: Path) -> None:
    tensors = {"a": np.ones((2, 3), np.float32), "b": np.full(4, 2.0, np.float32)}
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
        save_file(tensors, folder / "adapter.safetensors")
    assert differences(*folders) == {
        "tensors": 2,
        "bit_equal_tensors": 2,
        "bit_equal": True,
        "largest_difference": 0.0,
        "worst": "",
    }
    changed = load_file(folders[1] / "adapter.safetensors")
    changed["b"][3] += 0.5
    save_file(changed, folders[1] / "adapter.safetensors")
    found = differences(*folders)
    assert not found["bit_equal"] and found["bit_equal_tensors"] == 1
    assert found["worst"] == "adapter.safetensors:b"
    assert found["largest_difference"] == pytest.approx(0.25, rel=1e-6)  # in units of its root mean square, 2
    changed["a"][0, 0] = np.nan  # before the other in order
    save_file(changed, folders[1] / "adapter.safetensors")
    assert differences(*folders)["largest_difference"] == np.inf
    save_file({"b": tensors["b"]}, folders[1] / "adapter.safetensors")
    found = differences(*folders)
    assert (found["largest_difference"], found["worst"]) == (np.inf, "adapter.safetensors:a")


def test_nothing_is_not_equal_to_nothing(tmp_path: Path) -> None:
    assert not differences(tmp_path, tmp_path)["bit_equal"]

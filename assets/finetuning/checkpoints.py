"""Checkpoints that are whole or absent, and that only the training they belong to can load.

A checkpoint is a folder `step-00000012` with `state.safetensors`, `state.json` and, written last,
`DONE.json`: the hash of both files and the digest of the training (configuration, base model, data). It is
written to the side, synced and renamed. Nothing is pickled.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from resources.errors import SultanaError
from resources.files import disk_full_explained, publish_folder, sha256_file

DONE = "DONE.json"
STATE = "state.safetensors"
NUMBERS = "state.json"
_PREFIX = "step-"
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder and the number of optimizer steps it holds."""

    folder: Path
    step: int


class CheckpointFolder:
    """The checkpoints of one training. One process at a time writes it: see `loop.train`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def save(self, step: int, state: dict[str, Any], digest: str) -> Checkpoint:
        """Write the state after `step` steps: {"tensors": {name: tensor}, "numbers": {JSON values}}.

        When it returns, the checkpoint survives a power cut. A checkpoint of that step which does not
        verify is replaced; one that does is kept. Raises SultanaError where the disk is full.
        """
        final = self.root / f"{_PREFIX}{step:08d}"
        if final.exists():
            if _problem(final) is None and _done(final)["digest"] == digest:
                return Checkpoint(final, step)
            shutil.rmtree(final)
        temporary = self.root / f"{_PARTIAL}{final.name}"
        with disk_full_explained(self.root):
            if temporary.exists():
                shutil.rmtree(temporary)
            temporary.mkdir(parents=True)
            save_file(state["tensors"], temporary / STATE)
            numbers = json.dumps(state["numbers"], sort_keys=True, allow_nan=False)
            (temporary / NUMBERS).write_text(numbers + "\n", encoding="utf-8")
            done = {
                "digest": digest,
                "step": step,
                "files": {name: sha256_file(temporary / name) for name in (NUMBERS, STATE)},
            }
            text = json.dumps(done, indent=2, sort_keys=True) + "\n"
            (temporary / DONE).write_text(text, encoding="utf-8")
            publish_folder(temporary, final)
        return Checkpoint(final, step)

    def all(self) -> list[Checkpoint]:
        """The checkpoints present, oldest first, whether they verify or not."""
        found = []
        for folder in sorted(self.root.glob(f"{_PREFIX}*")):
            number = folder.name.removeprefix(_PREFIX)
            if folder.is_dir() and not folder.is_symlink() and number.isdigit():
                found.append(Checkpoint(folder, int(number)))
        return found

    def latest_verified(self, digest: str) -> Checkpoint | None:
        """The newest checkpoint whose files have the hashes of its manifest; torn ones are passed over.

        Raises SultanaError where it belongs to a training with another digest.
        """
        for checkpoint in reversed(self.all()):
            if _problem(checkpoint.folder) is not None:
                continue
            if _done(checkpoint.folder)["digest"] != digest:
                raise SultanaError(
                    f"The checkpoint {checkpoint.folder} belongs to a training with another configuration, "
                    "base model or data",
                    "Use another folder, or remove this one to start afresh",
                    code="checkpoint-differs",
                )
            return checkpoint
        return None

    def load(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The state of a checkpoint. Raises SultanaError where a file differs from the manifest."""
        if problem := _problem(checkpoint.folder):
            raise SultanaError(
                f"The checkpoint {checkpoint.folder} cannot be used: {problem}",
                "Remove it and continue from an older one",
                code="checkpoint-unreadable",
            )
        numbers = json.loads((checkpoint.folder / NUMBERS).read_text(encoding="utf-8"))
        try:
            return {"tensors": load_file(checkpoint.folder / STATE), "numbers": numbers}
        except SafetensorError as error:
            raise SultanaError(
                f"The checkpoint {checkpoint.folder} cannot be read: {error}",
                "Remove it and continue from an older one",
                code="checkpoint-unreadable",
            ) from error

    def prune(self, keep: int, always: frozenset[int] = frozenset()) -> None:
        """Remove all but the newest `keep` checkpoints and those of the steps in `always`.

        Left-overs of writers that were killed go as well.
        """
        for checkpoint in self.all()[: -max(keep, 1)]:
            if checkpoint.step not in always:
                shutil.rmtree(checkpoint.folder)
        for leftover in self.root.glob(f"{_PARTIAL}*"):
            shutil.rmtree(leftover)


def _done(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / DONE).read_text(encoding="utf-8"))
    return found


def _problem(folder: Path) -> str | None:
    """Why a checkpoint is torn, or None where it is whole."""
    try:
        done = _done(folder)
        files = dict(done["files"])
        if set(files) != {NUMBERS, STATE} or not isinstance(done["digest"], str):
            return f"{DONE} is not a manifest"
        for name, expected in files.items():
            if sha256_file(folder / name) != expected:
                return f"{name} differs from its hash in {DONE}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError):
        return f"{DONE} cannot be read"
    return None

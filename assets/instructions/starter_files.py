"""The starter corpus on disk: made once per seed and size, whole or not at all."""

import shutil
from pathlib import Path

from assets.instructions.starter.corpus import StarterFiles, starter_paths, write_starter
from resources.files import exclusive_lock, publish_folder


def starter_files(folder: Path, *, seed: int, rows: int) -> StarterFiles:
    """The files of the starter corpus under `folder`, made first where they are missing."""
    final = folder / f"{rows}-rows-seed-{seed}"
    with exclusive_lock(folder / ".lock"):
        if not final.exists():
            temporary = folder / f".{final.name}.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            write_starter(temporary, seed=seed, rows=rows)
            publish_folder(temporary, final)
    return starter_paths(final)

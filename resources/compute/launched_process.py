"""A process of a group: `accelerate launch -m resources.compute.launched_process MODULE FOLDER`.

Standard output carries lines of JSON for the process that waits (launched.py); whatever a library prints goes to
standard error. Standard input is a pipe from that process, which says nothing: when it ends, the process is gone
and so is this one.
"""

import importlib
import json
import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, for instance while the first writes a checkpoint."""

ENDED = "ended"
"""Told by the first process when its work is done."""


def main() -> None:
    """Do the work of the module, together with the other processes."""
    threading.Thread(target=_die_with_input, name="die-with-input", daemon=True).start()
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from resources.environment import apply_safe_defaults

    apply_safe_defaults()
    from resources.errors import SultanaError

    def tell(kind: str, value: Any, done: int = 0) -> None:
        lines.write(json.dumps({kind: value, "done": done}) + "\n")
        lines.flush()

    module, folder = sys.argv[1:]
    try:
        _work(module, Path(folder), tell)
    except SultanaError as error:
        tell("error", {"problem": error.problem, "remedy": error.remedy, "code": error.code})
        signal.pause()  # the reader of that line ends all processes; ending by oneself looks like a crash


def _work(module: str, folder: Path, tell: Any) -> None:
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    importlib.import_module(module).work(folder, tell)
    if state.is_main_process:
        tell(ENDED, True)
    state.wait_for_everyone()
    state.destroy_process_group()


def _die_with_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

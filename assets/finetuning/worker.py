"""One of several processes that train one model: `accelerate launch -m assets.finetuning.worker FOLDER`.

FOLDER holds a job (training_job.py) and `start.json`: where the model lies, the digest of its files' hashes, its
dtype, and the folder to train in. Standard output carries lines of JSON for the process that waits for the result
(processes.py), written by the first of the processes; whatever a library prints goes to standard error. Standard
input is a pipe from that process, which says nothing: when it ends, the process is gone and so is this one.
"""

import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

START = "start.json"
PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, for instance while the first writes a checkpoint."""


def main() -> None:
    """Train as the job says, together with the other processes."""
    threading.Thread(target=_die_with_input, name="die-with-input", daemon=True).start()
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from resources.environment import apply_safe_defaults

    apply_safe_defaults()
    from resources.errors import SultanaError

    def tell(kind: str, value: Any) -> None:
        lines.write(json.dumps({kind: value}) + "\n")
        lines.flush()

    try:
        _train(Path(sys.argv[1]), tell)
    except SultanaError as error:
        tell("error", {"problem": error.problem, "remedy": error.remedy, "code": error.code})
        signal.pause()  # the reader of that line ends all processes; ending by oneself looks like a crash


def _train(folder: Path, tell: Any) -> None:
    import torch
    from accelerate import PartialState

    from assets.finetuning.training_job import read_job, result_as_json, run_job
    from resources.language_model import LanguageModel

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    start = json.loads((folder / START).read_text(encoding="utf-8"))
    model = LanguageModel(start["model"], folder=folder, dtype=start["dtype"])
    model.check_hashes(start["hashes"])
    pair = model.load()
    result = run_job(
        read_job(folder), pair, Path(start["folder"]), on_step=lambda metrics: tell("step", asdict(metrics))
    )
    if state.is_main_process:
        tell("result", result_as_json(result))
    state.wait_for_everyone()
    state.destroy_process_group()


def _die_with_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

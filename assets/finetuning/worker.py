"""What each of several processes does that train one model together: the work of a process group.

The folder holds a job (training_job.py) and `start.json`: by which settings the model is found, the hash of all
that its numbers depend on, and the folder to train in.
"""

import json
import socket
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.compute.boundary import Tell
from resources.errors import SultanaError
from resources.files import folder_manifest

if TYPE_CHECKING:
    from resources.language_model import LanguageModel

START = "start.json"


def write_start(model: "LanguageModel", folder: Path, training: Path) -> None:
    """Write `start.json` into `folder`, for a training in the folder `training`.

    Raises SultanaError as `LanguageModel.files` does.
    """
    local = Path(model.model).expanduser()
    start = {
        "model": str(local.resolve()) if local.is_dir() else model.model,
        "is_folder": local.is_dir(),
        "revision": model.revision,
        "models": str(model.folder.resolve()),
        "dtype": model.resolved_dtype(),
        "fingerprint": model.fingerprint(),
        "folder": str(training.resolve()),
    }
    (folder / START).write_text(json.dumps(start), encoding="utf-8")


def work(folder: Path, tell: Tell) -> None:
    """Train as the job in `folder` says, together with the other processes of the group.

    The first of them tells each `step`, and at last the `result` and the hashes of its `weights`. Raises
    SultanaError as `run_job` does, and where the model found here is another one.
    """
    from assets.finetuning.devices import process_number
    from assets.finetuning.training_job import WEIGHTS, read_job, result_as_json, run_job

    start = json.loads((folder / START).read_text(encoding="utf-8"))
    result = run_job(
        read_job(folder),
        find_model(start).load(),
        Path(start["folder"]),
        on_step=lambda metrics: tell("step", asdict(metrics), done=metrics.step + 1),
    )
    if process_number()[0] == 0:
        weights = folder_manifest(Path(start["folder"]) / WEIGHTS)
        tell("result", {"result": result_as_json(result), "weights": weights})


def find_model(start: dict[str, Any]) -> "LanguageModel":
    """The model that `start.json` names, found, fetched or converted on this machine.

    Raises SultanaError where it is not there, or other files are.
    """
    from resources.compute.alike import check_model
    from resources.language_model import LanguageModel

    if start["is_folder"] and not Path(start["model"]).is_dir():
        raise SultanaError(
            f"The folder of a model, {start['model']}, is not there on {socket.gethostname()}",
            "Put the same files there, or the model into a folder that all nodes share",
            code="worker-model-differs",
        )
    model = LanguageModel(start["model"], start["revision"], start["models"], start["dtype"])
    check_model(model, start["fingerprint"])
    return model

"""Starts several processes that train one model, with accelerate, and waits for what they made.

`accelerate launch` starts them (worker.py) on this machine: on the CUDA devices where there are any, else on
the CPU, over gloo. They live no longer than this process, however it ends: each holds the reading end of a pipe
from it. So a killed training leaves nothing behind but its checkpoints, from which the next one goes on.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.finetuning.training_row import StepMetrics
from resources.errors import SultanaError

if TYPE_CHECKING:
    from assets.finetuning.loop import TrainingResult
    from assets.finetuning.training_job import TrainingJob
    from resources.language_model import LanguageModel

PROJECT = Path(__file__).resolve().parents[2]
WORKER = "assets.finetuning.worker"
_JOB_FOLDER = "job"
_LOOPBACKS = ("lo", "lo0")


def check_processes(processes: int, sharding: str, method: str, frozen_states: bool) -> None:
    """Raise SultanaError where this machine or the other settings do not allow so many processes."""
    import torch

    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if devices and processes > devices:
        raise SultanaError(
            f"processes is {processes}, and this machine has {devices} CUDA devices",
            f"Set processes to {devices} at most",
            code="device-missing",
        )
    if sharding == "none":
        return
    if processes == 1:
        raise SultanaError(
            "sharding is fsdp, which divides a model among processes, and processes is 1",
            "Set sharding to none, or processes to 2 or more",
            code="settings-conflict",
        )
    if method == "qlora":
        raise SultanaError(
            "sharding is fsdp and method is qlora: weights of 4 bits are not divided among processes",
            "Set sharding to none, or method to lora",
            code="settings-conflict",
        )
    if frozen_states:
        raise SultanaError(
            "sharding is fsdp and top_layers is set: states below the trained layers would be kept",
            "Set frozen_states_mebibytes to 0, or sharding to none",
            code="settings-conflict",
        )


def train_in_processes(
    job: "TrainingJob",
    model: "LanguageModel",
    folder: Path,
    *,
    processes: int,
    on_step: Callable[[StepMetrics], None] | None = None,
) -> "TrainingResult":
    """As `training_job.run_job`, by `processes` processes that each load `model` from its files.

    Raises SultanaError as that does, and where a process failed otherwise; its own message is on standard
    error then.
    """
    from assets.finetuning.training_job import result_from_json, write_job
    from assets.finetuning.worker import START

    place = (folder / _JOB_FOLDER).resolve()
    write_job(job, place)
    start = {
        "model": str(model.files().resolve()),
        "hashes": model.hashes_digest(),
        "dtype": model.resolved_dtype(),
        "folder": str(folder.resolve()),
    }
    (place / START).write_text(json.dumps(start), encoding="utf-8")
    (place / "accelerate.json").write_text(json.dumps(_launch_settings(processes)), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(place / "accelerate.json"), "-m", WORKER, str(place)]
    found: dict[str, Any] = {}
    with subprocess.Popen(
        command,
        cwd=place,  # no module of the present folder gets in the way
        env=_environment(processes),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as launcher:
        assert launcher.stdin is not None and launcher.stdout is not None
        try:
            for line in launcher.stdout:
                if not line.startswith('{"'):
                    sys.stderr.write(line)
                    continue
                told = json.loads(line)
                if "step" in told and on_step is not None:
                    on_step(StepMetrics(**told["step"]))
                found |= told
                if "error" in told:
                    break
        finally:
            if "result" not in found:
                launcher.kill()
                launcher.stdin.close()  # which ends the processes
            launcher.stdout.read()  # and with the last of them this ends
    if "error" in found:
        raise SultanaError(**found["error"])
    if "result" not in found:
        raise SultanaError(
            f"A training process failed with status {launcher.returncode}; its message is in the step's output",
            "Run the step again: it goes on from the last checkpoint",
            code="training-process-failed",
        )
    return result_from_json(found["result"])


def _launch_settings(processes: int) -> dict[str, Any]:
    """A configuration of our own, so that one the user has made for other work changes nothing."""
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",  # the launcher of CPU processes is the same; the worker chooses
        "num_processes": processes,
        "num_machines": 1,
        "machine_rank": 0,
        "main_process_ip": "127.0.0.1",
        "main_process_port": 0,  # any that is free
        "rdzv_backend": "static",
        "same_network": True,
        "gpu_ids": "all",
        "mixed_precision": "no",
        "use_cpu": False,
        "debug": False,
    }


def _environment(processes: int) -> dict[str, str]:
    found = dict(os.environ)
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), found.get("PYTHONPATH")]))
    found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    loopback = [name for _, name in socket.if_nameindex() if name in _LOOPBACKS]
    if loopback:
        found.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    return found

"""A process group on this machine, started by `accelerate launch`.

On the CUDA devices where there are any, else on the CPU, over gloo. The processes (launched_process.py) live no
longer than this one, however it ends: each holds the reading end of a pipe from it.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from resources.compute.boundary import Message
from resources.compute.launched_process import ENDED
from resources.errors import SultanaError

PROJECT = Path(__file__).resolve().parents[2]
PROCESS = "resources.compute.launched_process"
SETTINGS = "accelerate.json"
_LOOPBACKS = ("lo", "lo0")


def launched_group(module: str, folder: Path, count: int) -> Generator[Message]:
    """See `boundary.Compute.process_group`. A process that is lost is not replaced."""
    (folder / SETTINGS).write_text(json.dumps(_launch_settings(count)), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(folder / SETTINGS), "-m", PROCESS, module, str(folder)]
    found: Message = {}
    with subprocess.Popen(
        command,
        cwd=folder,  # no module of the present folder gets in the way
        env=_environment(count),
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
                found = json.loads(line)
                if "error" in found or ENDED in found:
                    break
                yield found
        finally:
            if ENDED not in found:
                launcher.kill()
                launcher.stdin.close()  # which ends the processes
            launcher.stdout.read()  # and with the last of them this ends
    if "error" in found:
        raise SultanaError(**found["error"])
    if ENDED not in found:
        raise SultanaError(
            f"A training process failed with status {launcher.returncode}; its message is in the step's output",
            "Run the step again: it goes on from the last checkpoint",
            code="training-process-failed",
        )


def check_devices(count: int) -> None:
    """Raise SultanaError where this machine has CUDA devices, and fewer than `count`."""
    import torch

    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if devices and count > devices:
        raise SultanaError(
            f"processes is {count}, and this machine has {devices} CUDA devices",
            f"Set processes to {devices} at most",
            code="device-missing",
        )


def _launch_settings(count: int) -> dict[str, Any]:
    """A configuration of our own, so that one the user has made for other work changes nothing."""
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",  # the launcher of CPU processes is the same; the process chooses
        "num_processes": count,
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


def _environment(count: int) -> dict[str, str]:
    found = dict(os.environ)
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), found.get("PYTHONPATH")]))
    found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    loopback = [name for _, name in socket.if_nameindex() if name in _LOOPBACKS]
    if loopback:
        found.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    return found

"""A real Ray cluster of several small nodes on this machine, reachable from nowhere else.

Ray binds every interface by itself, so clusters run in a network namespace that has the loopback device alone:
`in_namespace` is how to start a command there. Ray's own protection, a token, stays on.
"""

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
STORE_BYTES = 100_000_000
STARTS = 6


def reason_to_skip() -> str:
    """Why no cluster can be started here; empty where one can."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed: pip install 'sultana[ray]'"
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "unshare and ip are needed to keep Ray on the loopback device"
    tried = subprocess.run(in_namespace(["true"]), capture_output=True, text=True, timeout=20, check=False)
    return f"network namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else ""


def in_namespace(command: Sequence[str]) -> list[str]:
    """`command` in a network namespace of its own, with the loopback device and nothing else."""
    return ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


def run_module(module: str, *arguments: str, timeout: float) -> str:
    """What `python -m module` prints in such a namespace; fails with all of its output where it does."""
    done = subprocess.run(
        in_namespace([sys.executable, "-m", module, *arguments]),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """A cluster of a head without room for work and `nodes` nodes for one worker each; RAY_ADDRESS names it."""
    only = [line.split(":")[1].strip() for line in _devices()]
    if only != ["lo"]:
        raise RuntimeError(f"a cluster is started in a namespace with the loopback device alone, not {only}")
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        os.environ.update(
            RAY_USAGE_STATS_ENABLED="0",
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(32),
            RAY_TMPDIR=folder,
            PYTHONPATH=str(PROJECT),
            # Patience, for a machine with much else to do.
            RAY_raylet_start_wait_time_s="45",
            RAY_agent_register_timeout_ms="120000",
            RAY_worker_register_timeout_seconds="180",
            RAY_gcs_rpc_server_connect_timeout_s="60",
            RAY_gcs_server_request_timeout_seconds="120",
        )
        from ray.cluster_utils import Cluster

        made = Cluster()
        try:
            add_node(made, num_cpus=0, include_dashboard=False)
            for _ in range(nodes):
                add_node(made, num_cpus=1)
            os.environ["RAY_ADDRESS"] = made.address
            yield made
        finally:
            import ray

            ray.shutdown()
            made.shutdown()


def add_node(made: Any, **options: Any) -> None:
    """A small node; tried again, since Ray gives its agents 15 s to start and no more (ray-project/ray#65983)."""
    for tries_left in reversed(range(STARTS)):
        try:
            made.add_node(object_store_memory=STORE_BYTES, **options)
            return
        except Exception:  # Ray raises no narrower one
            if not tries_left:
                raise


def _devices() -> list[str]:
    found = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, timeout=20, check=True)
    return found.stdout.strip().splitlines()

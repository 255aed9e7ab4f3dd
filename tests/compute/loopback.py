"""A real Ray cluster of several small nodes on this machine, reachable from nowhere else.

Ray binds every interface by itself, so clusters run in a network namespace that has the loopback device alone:
`in_namespace` is how to start a command there. Ray's own protection, a token, stays on.
"""

import importlib.util
import itertools
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
SESSION = "session_of_a_test"
LISTEN = "dashboard_agent_listen_port"
_AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")
_PORTS = itertools.count(21_000)


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
        # Without the tests' watch for pickles: Ray's processes talk to one another in them, behind its token.
        # Last bits depend on the number of threads: one on either side, however many processes run the tests.
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
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
            GLOO_SOCKET_IFNAME="lo",
            # Patience, for a machine with much else to do, and workers that are no nicer than this process.
            RAY_worker_niceness="0",
            RAY_raylet_start_wait_time_s="120",
            RAY_agent_register_timeout_ms="120000",
            RAY_worker_register_timeout_seconds="180",
            RAY_gcs_rpc_server_connect_timeout_s="60",
            RAY_gcs_server_request_timeout_seconds="120",
        )
        from ray.cluster_utils import Cluster

        made = Cluster()
        try:
            add_node(made, num_cpus=0, include_dashboard=False, session_name=SESSION)
            for _ in range(nodes):
                add_node(made, num_cpus=1)
            os.environ["RAY_ADDRESS"] = made.address
            yield made
        finally:
            import ray

            ray.shutdown()
            made.shutdown()


def add_node(made: Any, **options: Any) -> None:
    """A small node.

    Ray waits 15 s for the ports of a node's agents and no more (ray-project/ray#65983), too little for a machine
    with much else to do. So they are given, and the file of the one that Ray does not hand on is there before.
    """
    ports = {name: next(_PORTS) for name in (*_AGENT_PORTS, LISTEN)}
    node = secrets.token_hex(28)
    os.environ["RAY_OVERRIDE_NODE_ID_FOR_TESTING"] = node
    session = Path(os.environ["RAY_TMPDIR"]) / "ray" / SESSION
    session.mkdir(parents=True, exist_ok=True)
    (session / f"{LISTEN}_{node}").write_text(str(ports[LISTEN]))
    made.add_node(object_store_memory=STORE_BYTES, **ports, **options)


def _devices() -> list[str]:
    found = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, timeout=20, check=True)
    return found.stdout.strip().splitlines()

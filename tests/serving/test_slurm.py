"""The example for Slurm: what ShellCheck says of it, and what it does where Slurm, Ray and Sultana are stand-ins.

The stand-ins write down how they are called, with what is in their environment; the shell, its signals and its folders
are real. It has not been tried on a cluster.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "orchestration" / "serving" / "slurm" / "sultana.sbatch"
TOKEN_DIGITS = 64

STAND_IN = """#!{python}
import json, os, signal, sys, time
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
said = {{name: os.environ.get(name) for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "SULTANA_DATA")}}
with open({calls!r}, "a") as file:
    file.write(json.dumps({{"name": name, "arguments": arguments, **said}}) + "\\n")
if name == "scontrol":
    print("first\\nsecond\\nthird")
elif name == "srun":
    time.sleep(600)
elif name == "sultana":
    if arguments[0] in ("run", "restore"):
        os.makedirs(os.environ["SULTANA_DATA"], exist_ok=True)
    if arguments[0] == "run":
        time.sleep(float(os.environ.get("RUN_SECONDS", 0)))
        sys.exit(int(os.environ.get("RUN_STATUS", 0)))
    if arguments[0] == "backup":
        os.makedirs(os.path.join(arguments[1], "2026-01-01"), exist_ok=True)
        sys.exit(int(os.environ.get("BACKUP_STATUS", 0)))
"""


def heed_signals() -> None:
    """As a job is started by Slurm: what the process of the tests ignores or blocks is inherited otherwise."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Cluster:
    """A folder of stand-ins, and the environment of a job of three nodes."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls.jsonl"
        self.backups = folder / "backups"
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        programs = folder / "sultana" / ".venv" / "bin"
        programs.mkdir(parents=True)
        text = STAND_IN.format(python=sys.executable, calls=str(self.calls_file))
        for name in ("srun", "scontrol", "ray", "sultana"):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (programs / "python").symlink_to(sys.executable)
        self.environment = {
            "PATH": os.environ["PATH"],
            "SULTANA": str(folder / "sultana"),
            "SULTANA_BACKUPS": str(self.backups),
            "SLURM_JOB_NODELIST": "node[1-3]",
            "SLURM_JOB_NUM_NODES": "3",
            "SLURM_JOB_ID": "42",
            "SLURM_TMPDIR": str(self.scratch),
        }

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,
        )

    def run(self, *arguments: str, **environment: str) -> int:
        process = self.start(*arguments, **environment)
        process.communicate(timeout=120)
        return process.returncode

    def calls(self, name: str) -> list[dict[str, Any]]:
        if not self.calls_file.exists():
            return []
        found = [json.loads(line) for line in self.calls_file.read_text().splitlines()]
        return [one for one in found if one["name"] == name]

    def told(self, name: str) -> list[list[str]]:
        return [one["arguments"] for one in self.calls(name)]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_shellcheck_has_nothing_to_say() -> None:
    program = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    done = subprocess.run([program, str(SCRIPT)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = subprocess.run(
        [program, "-"], input="#!/bin/bash\ncd $1\n", capture_output=True, text=True, check=False, timeout=60
    )
    assert "SC2086" in wrong.stdout


def test_a_job_starts_ray_on_every_node_and_runs_on_the_first(cluster: Cluster) -> None:
    assert cluster.run("--strategy", "raise", "--seed", "0") == 0
    assert cluster.told("scontrol") == [["show", "hostnames", "node[1-3]"]]
    first, others = cluster.told("srun")
    assert first[:4] == ["--overlap", "--nodes=1", "--ntasks=1", "--nodelist=first"]
    assert first[4:7] == ["ray", "start", "--head"]
    assert {"--node-ip-address=first", "--port=6379", "--block"} <= set(first)
    assert others == [
        *("--overlap", "--nodes=2", "--ntasks=2", "--exclude=first"),
        *("ray", "start", "--address=first:6379", "--block"),
    ]
    assert ["status", "--address", "first:6379"] in cluster.told("ray")
    assert cluster.told("sultana") == [
        ["run", "--strategy", "raise", "--seed", "0"],
        ["backup", str(cluster.backups)],
    ]


def test_every_process_has_the_address_and_one_token(cluster: Cluster) -> None:
    assert cluster.run() == 0
    everyone = [one for name in ("srun", "ray", "sultana") for one in cluster.calls(name)]
    assert {(one["RAY_ADDRESS"], one["RAY_AUTH_MODE"]) for one in everyone} == {("first:6379", "token")}
    (token,) = {one["RAY_AUTH_TOKEN"] for one in everyone}
    assert len(token) == TOKEN_DIGITS


def test_the_data_folder_is_on_the_nodes_own_disk_and_goes_with_the_job(cluster: Cluster) -> None:
    assert cluster.run() == 0
    data = Path(cluster.calls("sultana")[0]["SULTANA_DATA"])
    assert data.is_relative_to(cluster.scratch)
    assert not list(cluster.scratch.iterdir())


def test_a_second_job_goes_on_from_the_backup(cluster: Cluster) -> None:
    assert cluster.run() == 0
    assert cluster.run() == 0
    first, second = cluster.told("sultana")[:2], cluster.told("sultana")[2:]
    assert [one[0] for one in first] == ["run", "backup"]
    assert [one[0] for one in second] == ["restore", "run", "backup"]


def test_a_failed_run_is_backed_up_and_its_status_is_the_jobs(cluster: Cluster) -> None:
    assert cluster.run(RUN_STATUS="3") == 3
    assert [one[0] for one in cluster.told("sultana")] == ["run", "backup"]


def test_the_signal_before_the_time_limit_ends_the_run_and_backs_up(cluster: Cluster) -> None:
    process = cluster.start(RUN_SECONDS="600")
    for _ in range(600):
        if cluster.told("sultana"):
            break
        time.sleep(0.1)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - started < 60
    assert [one[0] for one in cluster.told("sultana")] == ["run", "backup"]


def test_a_failed_backup_leaves_the_data_folder_and_says_where(cluster: Cluster) -> None:
    process = cluster.start(BACKUP_STATUS="1")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    data = Path(cluster.calls("sultana")[0]["SULTANA_DATA"])
    assert data.is_dir()
    assert f"the data folder stays in {data} on first" in errors


def test_without_its_variables_it_says_which(cluster: Cluster) -> None:
    del cluster.environment["SULTANA_BACKUPS"]
    process = cluster.start()
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "SULTANA_BACKUPS" in errors
    assert not cluster.told("srun")

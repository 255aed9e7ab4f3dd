"""R7: the daemon is killed while a sensor asks for runs. Each key gets exactly one run, and each run ends."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from orchestration.dead_runs import fail_dead_runs
from orchestration.instance import open_instance
from tests.faults.counts import SEED, tell
from tests.faults.keyed_definitions import DONE_FILE, KEYS_FILE
from tests.faults.launched import PROJECT, kills, wait_for

KEYS_FOR_EACH_KILL = 3
MODULE = "tests.faults.keyed_definitions"


@contextmanager
def daemon(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's daemon, with a code server of its own; what it started is not waited for."""
    with (data / "daemon.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-m", MODULE, "-d", str(PROJECT)],
            cwd=PROJECT,
            env={**os.environ, "SULTANA_DATA": str(data), "DAGSTER_HOME": str(data / "dagster")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=120)


@pytest.mark.slow
def test_each_key_gets_exactly_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    draw, count = random.Random(SEED), kills(6)
    keys: list[str] = []
    file = tmp_path / KEYS_FILE
    with open_instance(tmp_path) as instance:

        def first_runs() -> Counter[str]:
            """The runs of each key; one that tries another again is not counted beside it."""
            return Counter(run.tags["key"] for run in instance.get_runs() if run.parent_run_id is None)

        def ended(key: str) -> bool:
            runs = instance.get_runs(dg.RunsFilter(tags={"key": key}))
            return any(run.status is dg.DagsterRunStatus.SUCCESS for run in runs)

        for number in range(count):
            keys.extend(f"{number}-{n}" for n in range(KEYS_FOR_EACH_KILL))
            file.write_text("\n".join(keys))
            with daemon(tmp_path) as process:
                wait_for("runs", lambda: len(first_runs()) > len(keys) - KEYS_FOR_EACH_KILL)
                time.sleep(draw.uniform(0, 1.5))
                os.kill(process.pid, signal.SIGKILL)
            counted = first_runs()
            assert set(counted.values()) == {1}, f"seed {SEED}, kill {number}: {counted}"
            fail_dead_runs(instance, restarted=True)  # as `sultana ui` does
        with daemon(tmp_path):
            wait_for("every run's end", lambda: all(ended(key) for key in keys), 200 + 5 * len(keys))
        assert first_runs() == Counter(keys), f"seed {SEED}"
        done = Counter((tmp_path / DONE_FILE).read_text().split())
        assert set(done) == set(keys)
        again = sum(run.parent_run_id is not None for run in instance.get_runs())
        assert sum(done.values()) <= len(keys) + again
    tell(f"seed {SEED}: {count} kills, {len(keys)} keys, one run each; {again} were tried again")

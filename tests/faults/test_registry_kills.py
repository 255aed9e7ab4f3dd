"""R11: publishing is killed at any moment. The alias always points at a whole version, and none is there twice."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resources.errors import SultanaError
from resources.publishing import PublishedModel
from resources.tracking import Tracking
from tests.faults.counts import SEED, tell
from tests.faults.launched import PROJECT, kills

# One warm parent, which has imported MLflow and opened nothing, forks a publisher for each kill.
PUBLISHER = """
import os, random, signal, sys, time
from pathlib import Path
from resources.environment import apply_safe_defaults
apply_safe_defaults()
import mlflow, mlflow.data, resources.lance_source
from resources.tracking import InputTable, Tracking
folder, files, seed, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

def publish(key):
    place = files / f"{key}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "adapter_model.safetensors").write_bytes(f"weights of {key} ".encode() * 20_000)
    (place / "adapter_config.json").write_text("{}")
    return Tracking(None, folder).publish(
        name="killed", idempotency_key=f"{key}", files=place, parameters={"key": key},
        step_metrics=[{"step": n, "loss": 1 / (n + 1)} for n in range(20)],
        inputs=[InputTable("curriculum", "file:///curriculum.lance", 3, "d" * 64, 100)],
        tags={}, aliases=["candidate"], artifacts={"plots/loss.png": b"plot"})

def forked(key):
    child = os.fork()
    if child == 0:
        try:
            publish(key)
            os._exit(0)
        except BaseException as error:
            print("error", repr(error), flush=True)
            os._exit(1)
    return child

child, start = forked(0), time.monotonic()
assert os.waitpid(child, 0)[1] == 0
child, start = forked(1), time.monotonic()
assert os.waitpid(child, 0)[1] == 0
takes = time.monotonic() - start
draw = random.Random(seed)
key, tries = 2, 0
for number in range(count):
    child = forked(key)
    time.sleep(draw.uniform(0, takes))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    print("kill", number, key, killed, flush=True)
    sys.stdin.readline()  # the model has been checked
    tries += 1
    if not killed or tries == 4:
        if killed:
            assert os.waitpid(forked(key), 0)[1] == 0
            print("kill", number, key, False, flush=True)
            sys.stdin.readline()
        key, tries = key + 1, 0
"""


def problems(tracking: Tracking, published: int) -> list[str]:
    """What is wrong with the registry after a kill, in words; `published` are the keys that were acknowledged."""
    found = []
    versions = tracking.versions("killed")
    keys = [one.tags["sultana.idempotency_key"] for one in versions]
    if len(set(keys)) != len(keys):
        found.append(f"{len(keys) - len(set(keys))} versions are there twice")
    if len(versions) < published:
        found.append(f"{published} were acknowledged, and {len(versions)} are there")
    candidate = tracking.aliases("killed").get("candidate")
    if candidate is None or candidate < published:
        found.append(f"the alias points at version {candidate}, and {published} was acknowledged")
    for one in versions:
        try:
            tracking.verify("killed", int(one.version))
        except SultanaError as error:
            if int(one.version) == candidate or int(one.version) <= published:
                found.append(str(error))
    return found


@pytest.mark.slow
def test_the_alias_always_points_at_a_whole_version(tmp_path: Path) -> None:
    count = kills(12)
    folder, files = tmp_path / "mlflow", tmp_path / "files"
    tracking = Tracking(None, folder)
    command = [sys.executable, "-c", PUBLISHER, str(folder), str(files), str(SEED), str(count)]
    acknowledged, cut_short = 2, 0
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        try:
            for line in parent.stdout:
                assert not line.startswith("error"), line
                if not (told := re.fullmatch(r"kill (\d+) (\d+) (True|False)\n", line)):
                    continue
                killed = told[3] == "True"
                cut_short += killed
                acknowledged = max(acknowledged, int(told[2]) + (0 if killed else 1))
                assert problems(tracking, acknowledged) == [], f"seed {SEED}, {line}"
                parent.stdin.write("\n")
                parent.stdin.flush()
        finally:
            if parent.poll() is None and sys.exc_info()[0] is not None:
                os.kill(parent.pid, signal.SIGKILL)
    assert parent.returncode == 0 and cut_short > count // 2
    assert len(tracking.versions("killed")) in (acknowledged, acknowledged + 1)
    tell(f"seed {SEED}: {cut_short} of {count} publications killed, {acknowledged} versions")


def test_a_run_that_has_ended_publishes_nothing_more(tmp_path: Path) -> None:
    """The fence is asked before each thing that others see; at whichever asking it closes, nothing follows."""
    closes_at, asked = 0, 0

    def fence() -> None:
        nonlocal asked
        asked += 1
        if asked == closes_at:
            raise SultanaError("The run has ended", "Start it again", code="run-ended")

    files = tmp_path / "files"
    files.mkdir()
    (files / "weights").write_bytes(b"weights")
    tracking = Tracking(None, tmp_path / "mlflow", fence=fence)

    def publish() -> PublishedModel:
        return tracking.publish(
            name="fenced",
            idempotency_key="key",
            files=files,
            parameters={},
            step_metrics=[],
            inputs=[],
            tags={},
            aliases=["candidate", "second"],
        )

    seen = []
    for place in (1, 2, 3, 3):  # the version is there at the last, and is not registered again
        closes_at = place
        asked = 0
        with pytest.raises(SultanaError, match="has ended"):
            publish()
        versions = len(tracking.versions("fenced"))
        seen.append((versions, sorted(tracking.aliases("fenced")) if versions else []))
    assert seen == [(0, []), (0, []), (1, []), (1, ["candidate"])]
    closes_at = 0
    published = publish()
    assert published.version == 1 and sorted(tracking.aliases("fenced")) == ["candidate", "second"]

    def state() -> str:
        with tracking.client() as client:
            run = client.get_run(published.run_id)
            version = client.get_model_version("fenced", "1")
            artifacts = [one.path for one in client.list_artifacts(published.run_id)]
        return repr(
            (run.data.metrics, version.tags, version.description, artifacts, tracking.aliases("fenced"))
        )

    before = state()
    writes: list[Callable[[], None]] = [
        lambda: tracking.log_evaluation(published.run_id, {"loss": 1.0}),
        lambda: tracking.log_artifacts(published.run_id, {"page.html": b"page"}),
        lambda: tracking.set_version_tags("fenced", 1, {"decided": "yes"}),
        lambda: tracking.describe_version("fenced", 1, "described"),
        lambda: tracking.set_alias("fenced", "third", 1),
        lambda: tracking.remove_alias("fenced", "second"),
    ]
    for write in writes:
        closes_at, asked = 1, 0
        with pytest.raises(SultanaError, match="has ended"):
            write()
        assert state() == before

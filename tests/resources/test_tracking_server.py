"""The same publication through an MLflow server, which has rules of its own for a version's source."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.environment import SAFE_DEFAULTS
from resources.errors import SultanaError
from resources.tracking import Tracking


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    environment = {**os.environ, **SAFE_DEFAULTS}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            break
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None and time.monotonic() < deadline, (
                tmp_path / "server.log"
            ).read_text()
            time.sleep(0.3)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=30)


@pytest.mark.slow
def test_publish_through_a_server(server: str, tmp_path: Path) -> None:
    files = tmp_path / "adapter"
    files.mkdir()
    (files / "weights.safetensors").write_bytes(b"weights")
    tracking = Tracking(server, tmp_path / "local")
    for _ in range(2):
        published = tracking.publish(
            name="m",
            idempotency_key="k",
            files=files,
            parameters={"prompt": "x" * 7000},
            step_metrics=[{"step": 0, "loss": 1.0}],
            inputs=[],
            tags={},
            aliases=["best"],
        )
        assert published.version == 1
    copy = tracking.download("m", 1, tmp_path / "copy")
    assert (copy / "weights.safetensors").read_bytes() == b"weights"
    assert tracking.check() == []
    (stored,) = (tmp_path / "artifacts").rglob("weights.safetensors")
    stored.write_bytes(b"torn")
    with pytest.raises(SultanaError, match="weights.safetensors of m version 1 was changed"):
        tracking.verify("m", 1)

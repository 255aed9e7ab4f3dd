"""The real UI over a data folder of its own, and a headless Chromium in front of it."""

import os
import shutil
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

pytest.importorskip("playwright", reason="needs the Python package playwright: make install")
from playwright.sync_api import Browser, sync_playwright

from tests.ui.driver import Person

PROJECT = Path(__file__).resolve().parents[2]
PICTURES = PROJECT / "data" / "screenshots"
START_SECONDS = 600
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def data_of_ui(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Path:
    """A data folder in which everything before training has been made, at the smallest size."""
    folder = tmp_path_factory.mktemp("ui")
    (folder / "models").symlink_to(models_folder, target_is_directory=True)
    subprocess.run(
        [sys.executable, "-m", "orchestration.cli", "run", "--preset", "smoke", "--to", "diversity_clusters"],
        cwd=PROJECT,
        env={**os.environ, "SULTANA_DATA": str(folder)},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=1200,
    )
    return folder


@pytest.fixture(scope="session")
def address(data_of_ui: Path) -> Iterator[str]:
    """Where `sultana ui` answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = data_of_ui / "ui.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", "ui", "--port", str(port)],
            cwd=PROJECT,
            env={**os.environ, "SULTANA_DATA": str(data_of_ui)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, f"http://127.0.0.1:{port}/server_info", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)


@pytest.fixture
def person(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Person]:
    """A new tab; at the end of a test, also of one that failed, its last view is kept as a picture."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    someone = Person(page, address, PICTURES)
    yield someone
    someone.picture(f"end of {request.node.name}")
    page.close()
    assert someone.elsewhere == [], "the UI asked another host"

"""The real UI over a data folder of its own, and a headless Chromium in front of it."""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("playwright", reason="needs the Python package playwright: make install")
from playwright.sync_api import Browser, sync_playwright

from orchestration.refresh import SETTINGS
from orchestration.run import Request, plan
from tests.orchestration.deployment import Deployment
from tests.orchestration.servers import sultana_ui
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
def deployment(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Deployment:
    """Sources in files, and everything before training made from them, at the smallest size."""
    made = Deployment(tmp_path_factory.mktemp("ui"))
    made.folder.mkdir()
    (made.folder / "models").symlink_to(models_folder, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SULTANA_DATA", str(made.folder))
        made.run(to="diversity_clusters")
    return made


@pytest.fixture(scope="session")
def run_config(deployment: Deployment) -> Mapping[str, Any]:
    """The settings that everything is made with."""
    return plan(
        Request(preset="smoke", sources=[str(deployment.source)], splits=deployment.splits)
    ).run_config


@pytest.fixture(scope="session")
def address(deployment: Deployment, run_config: Mapping[str, Any]) -> Iterator[str]:
    """Where `sultana ui` answers; its settings file names one strategy and seed to keep trained."""
    settings = deployment.folder.parent / "refresh.yaml"
    settings.write_text(
        yaml.safe_dump({"partitions": {"strategy": ["random"], "seed": [0]}, "run_config": run_config})
    )
    with sultana_ui(deployment.folder, **{SETTINGS: str(settings)}) as (found, process):
        _wait_until_it_answers(process, f"{found}/server_info", deployment.folder / "ui.log")
        yield found


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
def person(address: str, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Person]:
    """A new tab; at the end of a test, also of one that failed, its last view is kept as a picture."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    someone = Person(page, address, PICTURES)
    yield someone
    someone.picture(f"end of {request.node.name}")
    page.close()
    assert someone.elsewhere == [], "the UI asked another host"

"""A person's own browser: pages of other sites reach nothing through it, and the UI's own pages work."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the Python package playwright: make install")
from playwright.sync_api import Browser, Page, expect, sync_playwright

from orchestration.web.access import READ_TOKEN, TOKEN
from tests.web.conftest import Served, served, small_deployment, unguarded
from tests.web.hostile import hostile_page, site

pytestmark = pytest.mark.slow
PICTURES = Path(__file__).resolve().parents[2] / "data" / "screenshots"
PAGE_SECONDS = 180
REBOUND = "rebound.example"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1, MAP elsewhere.example 127.0.0.1",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for which two names of other sites point to this machine."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A new tab; what it shows at the end is kept as a picture."""
    one = browser.new_page(viewport={"width": 1440, "height": 900})
    one.set_default_timeout(PAGE_SECONDS * 1000)
    yield one
    PICTURES.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() else " " for letter in request.node.name)
    one.screenshot(path=PICTURES / f"web {name}.png")
    one.close()


def visit(page: Page, where: str, dagster: Served, mlflow: Served) -> int:
    """Opens the hostile page and lets it do all it wants; how much it tried."""
    content = hostile_page(f"http://127.0.0.1:{dagster.port}", f"http://127.0.0.1:{mlflow.port}")
    with site(content) as port:
        page.goto(f"http://{where}:{port}/")
        page.wait_for_function("document.title.startsWith('done')", timeout=PAGE_SECONDS * 1000)
        return int(page.title().split()[1])


@pytest.mark.parametrize("where", ["elsewhere.example", "127.0.0.1"])
def test_a_page_elsewhere_changes_nothing(
    page: Page, dagster_server: Served, mlflow_server: Served, where: str
) -> None:
    before = dagster_server.state(), mlflow_server.state()
    assert visit(page, where, dagster_server, mlflow_server) >= 25
    assert (dagster_server.state(), mlflow_server.state()) == before
    framed = page.frame_locator("#framed").locator("body")
    assert "Dagster" not in framed.inner_text()


def test_without_the_guard_the_same_page_changes_things(
    page: Page, mlflow_server: Served, tmp_path: Path
) -> None:
    with unguarded(tmp_path) as server:
        before = server.state()
        visit(page, "elsewhere.example", server, mlflow_server)
        assert server.state() != before


def test_a_name_that_was_made_to_point_here_reaches_nothing(
    page: Page, dagster_server: Served, mlflow_server: Served
) -> None:
    for server in (dagster_server, mlflow_server):
        answer = page.goto(f"http://{REBOUND}:{server.port}/")
        assert answer is not None and answer.status == 403
        script = "fetch('/graphql', {method: 'POST', body: '{}'}).then(one => one.status, () => 'not sent')"
        assert page.evaluate(script) in (403, "not sent")


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/overview/jobs", "make_first"),
        ("/assets/first", "Latest materialization"),
        ("/runs", "Success"),
        ("/locations", "small"),
        ("/graphql", "Prettify"),
    ],
)
def test_the_pages_of_dagster_work(page: Page, dagster_server: Served, path: str, seen: str) -> None:
    refused: list[str] = []
    page.on("console", lambda one: refused.append(one.text) if "Security Policy" in one.text else None)
    page.on("response", lambda one: refused.append(one.url) if one.status >= 400 else None)
    page.goto(f"http://localhost:{dagster_server.port}{path}")
    found = page.get_by_text(seen).or_(page.get_by_label(seen, exact=False))
    expect(found.locator("visible=true").first).to_be_visible(timeout=PAGE_SECONDS * 1000)
    assert refused == []


def test_the_pages_of_mlflow_work(page: Page, mlflow_server: Served) -> None:
    refused: list[str] = []
    page.on("console", lambda one: refused.append(one.text) if "Security Policy" in one.text else None)
    off = ("/assistant/", "/users/current", "/gateway-proxy")  # parts of MLflow that are closed
    page.on(
        "response",
        lambda one: (
            refused.append(one.url)
            if one.status >= 400 and not any(part in one.url for part in off)
            else None
        ),
    )
    address = f"http://127.0.0.1:{mlflow_server.port}"
    page.goto(f"{address}/#/experiments/1/runs/{mlflow_server.run}")
    expect(page.get_by_text("rank").first).to_be_visible(timeout=PAGE_SECONDS * 1000)
    page.screenshot(path=PICTURES / "web mlflow run.png")
    page.goto(f"{address}/#/experiments/1/runs/{mlflow_server.run}/artifacts/page.html")
    expect(page.get_by_text("page.html").first).to_be_visible(timeout=PAGE_SECONDS * 1000)
    page.goto(f"{address}/#/models/small")
    expect(page.get_by_text("small").first).to_be_visible(timeout=PAGE_SECONDS * 1000)
    assert refused == []


def test_a_token_opens_the_ui_and_readers_change_nothing(page: Page, tmp_path: Path) -> None:
    data, run, options = small_deployment(tmp_path)
    tokens = {TOKEN: "operator-token-of-32-characters-", READ_TOKEN: "reader-token-of-32-characters---"}
    with served(data, "dagster", *options, run=run, **tokens) as server:
        address = f"http://127.0.0.1:{server.port}"
        page.goto(f"{address}/runs")
        page.get_by_label("Token").fill("a wrong one")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("That is not the token").wait_for()
        page.screenshot(path=PICTURES / "web sign in.png")
        page.goto(f"{address}/runs")
        page.get_by_label("Token").fill(tokens[READ_TOKEN])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("Success").locator("visible=true").first.wait_for()
        assert page.url == f"{address}/runs"
        before = server.state()
        script = """query => fetch('/graphql', {method: 'POST', headers: {'Content-Type': 'application/json'},
            body: JSON.stringify({query})}).then(async one => [one.status, await one.text()])"""
        status, _ = page.evaluate(script, f'mutation {{ deleteRun(runId: "{run}") {{ __typename }} }}')
        assert status == 403 and server.state() == before
        status, text = page.evaluate(script, "{ permissions { permission value } }")
        given = [one["permission"] for one in json.loads(text)["data"]["permissions"] if one["value"]]
        assert status == 200 and given == []

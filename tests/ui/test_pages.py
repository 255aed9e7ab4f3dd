"""What people do in the Dagster UI every day, done by a real browser in the real UI. Pictures: data/screenshots/."""

import pytest
from playwright.sync_api import Locator, Page, expect

from orchestration.definitions import defs
from resources.definitions import Storage
from tests.orchestration.deployment import Deployment
from tests.ui.driver import RUN_SECONDS, Person

pytestmark = pytest.mark.slow
ADDED = "longest-two-steps"
SMALL = "{steps: 2, batch_size: 4, candidates: 24, maximum_length: 128, reward_examples: 4}"
GREEN = "rgba(46, 204, 129, 0.12)"


def is_drawn(name: str, texts: list[str]) -> bool:
    """Whether a name stands in the graph, whole or cut in its middle."""
    for text in texts:
        start, cut, end = text.partition("…")
        if text == name or (cut and name.startswith(start) and name.endswith(end)):
            return True
    return False


def test_the_graph_is_drawn_and_green_where_it_was_made(person: Person) -> None:
    graph = defs.resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys()}
    person.page.set_viewport_size({"width": 1800, "height": 900})
    person.open("/asset-groups")
    for group in sorted(group for group in groups if group):
        person.sees(group)
    person.page.keyboard.press("Alt+KeyE")
    person.sees("raw_instructions")
    drawn = person.page.locator("body").inner_text().splitlines()
    for key in sorted(graph.get_all_asset_keys()):
        assert is_drawn(key.to_user_string(), drawn), f"{key.to_user_string()} is not in {drawn}"
    box = person.page.get_by_text("raw_instructions", exact=True).locator("xpath=..")
    expect(box).to_have_css("background-color", GREEN)
    person.picture("graph", person.page.locator(".split-panel-container").last)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("maximum_row: 50", 'unexpected config entry "maximum_row"'),
        ("maximum_rows: many", 'Value "many" of type'),
        ("on_bad_file: explode", "on_bad_file"),
    ],
    ids=["unknown", "type", "choice"],
)
def test_a_wrong_configuration_cannot_be_launched(person: Person, setting: str, told: str) -> None:
    launchpad = person.open_launchpad("raw_instructions")
    person.write_configuration(f"ops: {{raw_instructions: {{config: {{{setting}}}}}}}")
    expect(launchpad.get_by_text("No errors")).to_have_count(0)
    expect(launchpad).to_contain_text(told)
    expect(launchpad.get_by_role("button", name="Materialize")).to_be_disabled()
    person.picture(f"refused {setting.split(':')[0]}")


def test_a_value_out_of_bounds_ends_the_run_before_any_work(person: Person, deployment: Deployment) -> None:
    tables = Storage(folder=str(deployment.folder)).tables()
    before = tables.versions("raw_instructions")
    launchpad = person.open_launchpad("raw_instructions")
    person.write_configuration("ops: {raw_instructions: {config: {starter: {rows: 20}}}}")
    person.launch(launchpad.get_by_role("button", name="Materialize"))
    person.sees("Failure", RUN_SECONDS)
    expect(person.page.locator("body")).to_contain_text("Input should be greater than or equal to 200")
    assert tables.versions("raw_instructions") == before


def test_an_asset_is_materialized_with_another_configuration_and_shows_its_plot(person: Person) -> None:
    launchpad = person.open_launchpad("interpolated_instructions")
    person.picture("launchpad", launchpad)
    person.write_configuration("ops: {interpolated_instructions: {config: {count: 90}}}")
    person.launch(launchpad.get_by_role("button", name="Materialize"))
    person.sees("Success", RUN_SECONDS)
    person.open("/assets/interpolated_instructions")
    assert "90" in person.card("Row count").split()
    person.page.get_by_text("Show Markdown").first.click()
    dialogue = person.page.get_by_role("dialog")
    plot = dialogue.get_by_role("img", name="λ of 90 recipes, drawn from Beta(0.1, 0.1)")
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.complete && image.naturalWidth") == 720
    person.picture("plot", dialogue)


def test_a_backfill_over_two_partitions_one_of_them_added_there_succeeds(person: Person) -> None:
    page = person.page
    person.open("/assets/curriculum")
    page.get_by_role("button", name="Materialize").first.click()
    title = person.sees("Launch runs to materialize curriculum")
    choose(page, title, "seed", "0")
    page.get_by_text("Add a partition", exact=True).last.click()
    person.sees("Add a partition for strategy")
    page.get_by_placeholder("name").fill(ADDED)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Add a partition for strategy")).to_have_count(0)
    choose(page, title, "strategy", "random", ADDED)
    person.sees("2 partitions")
    page.get_by_text("Config", exact=True).click()
    page.get_by_role("button", name="Add config").click()
    person.sees("No errors")
    person.write_configuration(f"ops: {{curriculum: {{config: {SMALL}}}}}")
    person.sees("No errors")
    page.get_by_role("button", name="Save config").click()
    person.sees("Config saved")
    expect(page.get_by_role("button", name="Save config")).to_have_count(0)
    person.picture("backfill")
    page.get_by_role("button", name="Launch backfill").click()
    page.get_by_text("View", exact=True).last.click()
    page.wait_for_url("**/runs/b/*")
    person.sees("Succeeded", RUN_SECONDS)
    person.sees("100% completed", RUN_SECONDS)
    expect(page.locator("body")).to_contain_text(f"0|{ADDED}")

    person.open("/assets/curriculum?view=partitions")
    person.sees(page.get_by_text("Materialized (2)"))
    page.get_by_text(ADDED, exact=True).first.click()
    person.sees(f"0|{ADDED}")
    person.sees(page.get_by_text("The longest responses."))
    person.picture("partitions")


def choose(page: Page, title: Locator, dimension: str, *partitions: str) -> None:
    """Picks partitions of a dimension in the dialogue with `title`."""
    below = "xpath=following::*[starts-with(text(), 'Select a partition')][1]"
    page.get_by_text(dimension, exact=True).last.locator(below).click()
    for partition in partitions:
        page.get_by_placeholder("Filter partitions").fill(partition)
        page.get_by_role("menuitem").filter(has=page.get_by_text(partition, exact=True)).first.click()
    title.click()

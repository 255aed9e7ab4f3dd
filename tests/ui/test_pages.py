"""What people do in the Dagster UI every day, done by a real browser in the real UI. Pictures: data/screenshots/."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from orchestration.definitions import defs
from resources.definitions import Storage
from tests.ui.driver import RUN_SECONDS, Person

pytestmark = pytest.mark.slow
SMALL = "{steps: 2, batch_size: 4, candidates: 24, maximum_length: 128, reward_examples: 4}"


def is_drawn(name: str, texts: list[str]) -> bool:
    """Whether a name stands in the graph, whole or cut in its middle."""
    for text in texts:
        start, cut, end = text.partition("…")
        if text == name or (cut and name.startswith(start) and name.endswith(end)):
            return True
    return False


def test_the_graph_is_drawn(person: Person) -> None:
    graph = defs.resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys()}
    person.open("/asset-groups")
    for group in sorted(group for group in groups if group):
        person.sees(group)
    person.page.keyboard.press("Alt+KeyE")
    person.sees("raw_instructions")
    drawn = person.page.locator("body").inner_text().splitlines()
    for key in sorted(graph.get_all_asset_keys()):
        assert is_drawn(key.to_user_string(), drawn), f"{key.to_user_string()} is not in {drawn}"
    person.picture("graph")


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


def test_a_value_out_of_bounds_ends_the_run_before_any_work(person: Person, data_of_ui: Path) -> None:
    before = Storage(folder=str(data_of_ui)).tables().versions("raw_instructions")
    launchpad = person.open_launchpad("raw_instructions")
    person.write_configuration("ops: {raw_instructions: {config: {starter: {rows: 20}}}}")
    person.sees("No errors")
    person.launch(launchpad)
    person.sees("Failure", RUN_SECONDS)
    expect(person.page.locator("body")).to_contain_text("Input should be greater than or equal to 200")
    assert Storage(folder=str(data_of_ui)).tables().versions("raw_instructions") == before


def test_an_asset_is_materialized_with_another_configuration_and_shows_its_plot(person: Person) -> None:
    launchpad = person.open_launchpad("interpolated_instructions")
    person.picture("launchpad")
    person.write_configuration("ops: {interpolated_instructions: {config: {count: 90}}}")
    person.sees("No errors")
    person.launch(launchpad)
    person.sees("Success", RUN_SECONDS)
    person.open("/assets/interpolated_instructions")
    assert "90" in person.card("Row count").split()
    person.page.get_by_text("Show Markdown").first.click()
    plot = person.page.get_by_role("dialog").get_by_role("img")
    expect(plot).to_have_attribute("alt", "λ of 90 recipes, drawn from Beta(0.1, 0.1)")
    assert plot.evaluate("image => image.complete && image.naturalWidth") == 720
    person.picture("plot")


def test_a_backfill_over_two_partitions_succeeds(person: Person) -> None:
    page = person.page
    person.open("/assets/curriculum")
    page.get_by_role("button", name="Materialize").first.click()
    person.sees("Launch runs to materialize curriculum")
    choose(page, "0")
    choose(page, "random", "longest")
    person.sees("2 partitions")
    page.get_by_text("Config", exact=True).click()
    page.get_by_role("button", name="Add config").click()
    person.sees("No errors")
    person.write_configuration(f"ops: {{curriculum: {{config: {SMALL}}}}}")
    person.sees("No errors")
    page.get_by_role("button", name="Save config").click()
    person.picture("backfill")
    page.get_by_role("button", name="Launch backfill").click()
    page.get_by_role("link", name="View").or_(page.get_by_role("button", name="View")).first.click()
    page.wait_for_url("**/runs/b/*")
    person.sees("Succeeded", RUN_SECONDS)
    person.sees("100% completed", RUN_SECONDS)
    expect(page.locator("body")).to_contain_text("0|longest")

    person.open("/assets/curriculum?view=partitions")
    person.sees(page.get_by_text("Materialized (2)"))
    page.get_by_text("longest", exact=True).click()
    person.sees("0|longest")
    person.sees("The longest responses.")
    person.picture("partitions")


def choose(page: Page, *partitions: str) -> None:
    """Picks partitions of the first dimension that has none yet."""
    page.get_by_text("Select a partition").first.click()
    for partition in partitions:
        page.get_by_role("menuitem").filter(has=page.get_by_text(partition, exact=True)).first.click()
    page.get_by_text("Launch runs to materialize curriculum").click()

"""What goes on by itself, seen in the UI: a check that stops a run, the sensor on sources, a training schedule."""

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import expect

from assets.materialized import materializations
from orchestration.instance import open_instance
from tests.orchestration.deployment import Deployment
from tests.ui.driver import RUN_SECONDS, Person

pytestmark = pytest.mark.slow
TWO_LOOKS_SECONDS = 300


def test_a_failed_check_ends_the_run_and_says_what_to_do(
    person: Person, run_config: Mapping[str, Any]
) -> None:
    page = person.page
    ops = {name: run_config["ops"][name] for name in ("raw_instructions", "benchmark_splits")}
    ops["raw_instructions_checks"] = {"config": {"minimum_readable_share": 1.0}}
    person.open("/locations/sultana/jobs/prepare_instructions/playground")
    person.sees("No errors")
    person.write_configuration(json.dumps({"ops": ops}))
    person.launch(page.get_by_role("button", name="Launch Run"))
    person.sees("Failure", RUN_SECONDS)
    person.sees("Not executed (8)")
    page.get_by_placeholder("Filter…").fill("check enough_rows_are_readable")
    told = "lower minimum_readable_share of raw_instructions_checks."
    expect(page.locator("body")).to_contain_text(told)
    person.picture("run ended by a check")

    page.set_viewport_size({"width": 1200, "height": 700})
    person.open("/assets/raw_instructions?view=checks")
    person.sees("Failed")
    expect(page.locator("body")).to_contain_text(told)
    person.picture("check")
    page.get_by_text("Execute", exact=True).click()
    person.sees("Passed", RUN_SECONDS)
    person.picture("check passed")


def test_the_sensor_is_switched_on_and_a_changed_source_starts_a_run(
    person: Person, deployment: Deployment
) -> None:
    page = person.page
    with open_instance(deployment.folder) as instance:
        before = materializations(instance, "diversity_clusters")[0]
    person.open("/automation")
    page.get_by_role("link", name="sources_have_changed").click()
    person.switch_on()
    ticks = page.get_by_role("row")
    person.sees(ticks.filter(has_text="0 runs requested"), TWO_LOOKS_SECONDS)
    deployment.change_rows()
    fired = person.sees(ticks.filter(has_text="1 run requested"), TWO_LOOKS_SECONDS)
    person.picture("sensor")
    person.open(fired.get_by_role("link").get_attribute("href") or "")
    person.sees("Success", RUN_SECONDS)

    with open_instance(deployment.folder) as instance:
        end = time.monotonic() + RUN_SECONDS
        while materializations(instance, "diversity_clusters")[0].data_version == before.data_version:
            assert time.monotonic() < end, "the change has not reached the clusters"
            time.sleep(1)
    person.open("/runs")
    person.sees("cheap_stages_follow")
    person.picture("runs")


def test_a_schedule_is_switched_on_trains_once_and_then_says_why_not(person: Person) -> None:
    page = person.page
    person.open("/automation")
    page.get_by_role("link", name="nightly_training").click()
    person.switch_on()
    person.sees("Next tick")
    preview_tick(person)
    person.sees("1 run requests")
    person.picture("schedule")
    page.get_by_role("button", name="Launch all & commit tick result").click()
    page.wait_for_url("**/runs?*")
    expect(page.locator("body")).to_contain_text("nightly_training")
    expect(page.locator("body")).to_contain_text("0|random")
    person.sees("Success", RUN_SECONDS)

    person.open("/locations/sultana/schedules/nightly_training")
    preview_tick(person)
    expect(page.get_by_role("dialog")).to_contain_text("partitions up to date: 1")
    person.picture("schedule skips")


def preview_tick(person: Person) -> None:
    """Evaluates a tick of the schedule on the page, at the time that the UI offers first."""
    person.page.get_by_role("button", name="Preview tick result").click()
    person.page.get_by_role("button", name="Continue").click()

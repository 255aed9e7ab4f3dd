"""A retraction goes down the graph: what is stale, what follows, which model loses its alias, what an audit says."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assets.instructions.retractions import broken_link, read_decisions
from assets.materialized import materializations
from orchestration.auditing import audit
from orchestration.cli import app
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.registered import find_registered
from orchestration.retraction_models import warning_about
from orchestration.status import read_status
from orchestration.tracing import trace
from resources.definitions import Storage, data_folder
from resources.tracking import Tracking
from tests.orchestration.deployment import Deployment
from tests.orchestration.ticks import UP_TO_CLUSTERS, Daemon, assets_of, carry_out

SORTED = {"instructions", "quarantine", "dropped_instructions"}


def sultana(*arguments: str, status: int = 0) -> Any:
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == status, found.output + repr(found.exception)
    return json.loads(found.stdout) if status == 0 else " ".join(found.stderr.split())


def job(name: str, **config: Any) -> Any:
    """The answer of a job of the UI, which is the one of the command."""
    definition = defs.resolve_job_def(name)
    (op,) = definition.graph.node_dict
    with open_instance(data_folder()) as instance:
        done = definition.execute_in_process(
            instance=instance, run_config={"ops": {op: {"config": config}}} if config else {}
        )
    (output,) = done.filter_events(lambda event: event.event_type_value == "STEP_OUTPUT")
    return output.step_output_data.metadata["answer"].value


def rows(made: Deployment, asset: str, name: str | None = None, partition: str | None = None) -> list[Any]:
    with open_instance(made.folder) as instance:
        ref = materializations(instance, asset, partition)[0].table(name)
    found: list[Any] = Storage().tables().read(ref).to_pylist()
    return found


def chosen_row(made: Deployment) -> str:
    """An instruction that stood in one place, is a parent of a recipe, and stands, or is mixed, in the curriculum."""
    ledger = {row["row_id"] for row in rows(made, "curriculum", partition="0|random")}
    once = {row["instruction_id"] for row in rows(made, "instructions") if len(row["origins"]) == 1}
    recipes = rows(made, "interpolated_instructions")
    parents = {row[name] for row in recipes for name in ("parent_a", "parent_b")}
    mixed = {row[name] for row in recipes if row["recipe_id"] in ledger for name in ("parent_a", "parent_b")}
    return min((ledger | mixed) & once & parents)


def test_a_retracted_row_leaves_everything_that_came_of_it(fresh: Deployment) -> None:
    row = chosen_row(fresh)
    tracking = Tracking(None, fresh.folder / "mlflow")
    first = tracking.aliases("sultana")["candidate"]
    tracking.set_alias("sultana", "champion", first)

    planned = job("retract", rows=[row], reason="asked for")
    hit = planned["effects"]
    assert (hit["instructions"], hit["raw_rows"], planned["decided"]) == (1, 1, False)
    assert hit["recipes"] > 0 and [one["version"] for one in hit["models"]] == [first]
    assert sultana("retractions")["decisions"] == [] and fresh.stale() == set()

    with open_instance(fresh.folder) as instance:
        daemon = Daemon(instance)
        daemon.tick()
        told = sultana("retract", row, "--reason", "asked for")
        identity = told["retraction_id"]
        assert fresh.stale() == SORTED
        assert {one["why"] for one in read_status()["assets"] if one.get("why")} == {
            "retractions has changed"
        }
        assert sultana("retract", row, "--reason", "again")["stood_already"]
        assert len(sultana("retractions")["decisions"]) == 1

        # The champion that saw it is none any more, and does not become one again by itself.
        assert "champion" not in tracking.aliases("sultana")
        assert [(one["action"], one["version"], one["previous_version"]) for one in told["champions"]] == [
            ("withdraw", None, first)
        ]
        tags = tracking.versions("sultana")[first - 1].tags
        assert "asked for" in tags[f"sultana.retraction.{identity}"]
        assert "retracted instructions" in sultana("promote", f"sultana/{first}", "--margin", "0", status=1)
        model = find_registered(tracking, f"sultana/{first}")
        warned = warning_about(model, Storage().tables())
        assert warned and "was trained on 1 retracted instructions" in warned and "asked for" in warned
        audited = audit(f"sultana/{first}", verified=True)
        assert audited["verification"]["problems"] == []
        held = audited["retractions"]
        assert held["when_made"] == [] and held["held"][0]["among_them"] == [row] and held["held"][0]["slots"]
        traced = trace(row)
        assert [(one["retraction_id"], one["reason"]) for one in traced["retractions"]] == [
            (identity, "asked for")
        ]

        # What is cheap follows by itself, and the row is in none of it.
        (request,) = daemon.tick()
        assert assets_of(request) == UP_TO_CLUSTERS
        result = carry_out(instance, request)
        assert result.success and all(one.passed for one in result.get_asset_check_evaluations())
        assert daemon.tick() == []
    dropped = [one for one in rows(fresh, "dropped_instructions") if one["reason"] == "retracted"]
    assert [(one["instruction_id"], one["collides_with"]) for one in dropped] == [(row, identity)]
    assert row not in {one["instruction_id"] for one in rows(fresh, "instructions", "instructions")}
    assert not any(
        row in (one["parent_a"], one["parent_b"]) for one in rows(fresh, "interpolated_instructions")
    )
    recipes = {one["recipe_id"] for one in rows(fresh, "interpolated_instructions")}
    clusters = rows(fresh, "diversity_clusters")
    assert row not in {one["row_id"] for one in clusters}
    assert {one["row_id"] for one in clusters if one["kind"] == "interpolated"} <= recipes
    assert trace(row)["origins"][0]["why"] == "retracted"

    lift = job("lift_a_retraction", retraction=identity[:8], reason="a mistake")
    assert lift["tagged"] == [f"sultana version {first}"]
    decisions = sultana("retractions")
    assert job("show_retractions") == decisions
    assert decisions["standing"] == [] and [one["action"] for one in decisions["decisions"]] == [
        "retract",
        "lift",
    ]
    assert fresh.stale() >= SORTED
    assert trace(row)["retractions"][0]["lifted"]["reason"] == "a mistake"
    assert audit(f"sultana/{first}")["retractions"]["held"] == []


def test_a_source_that_is_retracted_stays_so_for_rows_that_come_later(fresh: Deployment) -> None:
    source = rows(fresh, "raw_instructions")[0]["source"]
    told = sultana("retract", "--licence", "no-such-licence", "--reason", "typo", "--dry-run")
    assert told["effects"]["raw_rows"] == 0 and told["effects"]["known"]
    job("retract", file=f"{fresh.source.name}:1", reason="one line", dry_run=False)
    (line,) = sultana("retractions")["standing"]
    assert (line["kind"], line["value"], line["position"]) == ("file", fresh.source.name, 1)
    # A line that was put before it moves the row, and the rule goes with it.
    first, *others = fresh.source.read_bytes().splitlines(keepends=True)
    fresh.source.write_bytes(
        b'{"instruction": "Say this first.", "input": "", "output": "This."}\n' + first + b"".join(others)
    )
    fresh.run(to="instructions")
    dropped = [one for one in rows(fresh, "dropped_instructions") if one["reason"] == "retracted"]
    assert [(one["instruction_id"], one["position"]) for one in dropped] == [(line["rows"][0], 2)]
    with_source = sultana("retract", "--source", source, "--reason", "withdrawn", "--dry-run")
    assert with_source["effects"]["raw_rows"] == len(rows(fresh, "raw_instructions"))


def test_decisions_are_one_chain(fresh: Deployment) -> None:
    row = chosen_row(fresh)
    identity = sultana("retract", row, "--reason", "asked for", "--keep-champion", "no harm")["retraction_id"]
    sultana("retract", "--undo", identity, "--reason", "a mistake")
    decisions = read_decisions(Storage().tables())
    assert len(decisions) == 2 and broken_link(decisions) is None
    for place, name, value in ((0, "reason", "other"), (1, "lifts", "0" * 32), (0, "rows", [])):
        changed = [dict(one) for one in decisions]
        changed[place][name] = value
        assert broken_link(changed) == place + 1
    assert broken_link(decisions[1:]) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--source", "x"), "needs a reason"),
        (("--reason", "x"), "Nothing is named"),
        (("--reason", "x", "--source", "a", "--file", "b"), "source and file are named"),
        (("--reason", "x", "0" * 32), "No source has ever held the row"),
        (("--reason", "x", "apple"), "is no id of a row"),
        (("--reason", "x", "--file", "nothing.jsonl:3"), "No source has a line 3"),
        (("--reason", "x", "--undo", "abcd"), "names none of the 0 retractions"),
        (("--undo", "abcd"), "needs a reason"),
    ],
)
def test_what_cannot_be_retracted_is_refused(
    deployment: Deployment, arguments: tuple[str, ...], told: str
) -> None:
    assert told in sultana("retract", *arguments, status=1)
    assert CliRunner().invoke(app, ["retract", "--list", "--undo", "x"]).exit_code == 2


def test_a_mix_is_retracted_by_its_parents(deployment: Deployment) -> None:
    mix = rows(deployment, "interpolated_instructions")[0]
    assert mix["parent_a"] in sultana("retract", mix["recipe_id"], "--reason", "x", status=1)


@pytest.mark.slow
def test_the_next_model_has_not_seen_it_and_the_champion_before_stays(
    fresh: Deployment, tmp_path: Path
) -> None:
    tracking = Tracking(None, fresh.folder / "mlflow")
    first = tracking.aliases("sultana")["candidate"]
    row = chosen_row(fresh)
    forced = ("--force", "--reason", "for the test")
    sultana("promote", f"sultana/{first}", *forced)
    identity = sultana("retract", row, "--reason", "asked for", "--keep-champion", "until the next")[
        "retraction_id"
    ]
    assert tracking.aliases("sultana")["champion"] == first
    fresh.run(to="checkpoint")
    second = tracking.aliases("sultana")["candidate"]
    assert second > first
    found = audit(f"sultana/{second}")["retractions"]
    assert [one["retraction_id"] for one in found["when_made"]] == [identity] and found["held"] == []
    sultana("promote", f"sultana/{second}", *forced)

    # Whoever uses the first is told.
    for arguments in (
        ("export-model", f"sultana/{first}", str(tmp_path / "model")),
        ("report", f"sultana/{first}", str(tmp_path / "report.html")),
        ("generate", f"sultana/{first}", "--prompt", "Say yes.", "--maximum-new-tokens", "2"),
    ):
        found_line = CliRunner().invoke(app, list(arguments))
        assert found_line.exit_code == 0 and "Warning: sultana version" in " ".join(found_line.output.split())
    assert "Retracted rows." in (tmp_path / "report.html").read_text()

    # The version before saw what was retracted, so nothing leads back to it.
    assert "Not rolled back" in sultana("rollback", "sultana", status=1)
    other = chosen_row(fresh)
    (champion,) = sultana("retract", other, "--reason", "this one too")["champions"]
    assert (champion["version"], champion["previous_version"]) == (None, second)
    assert json.loads(json.dumps(champion["evidence"]))["passed_over"] == [first]

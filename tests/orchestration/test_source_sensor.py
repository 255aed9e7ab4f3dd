"""A change of what sources hold is asked for once; nothing else is asked for at all."""

import os
from pathlib import Path

import dagster as dg
import pytest
import yaml

from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.refresh import SETTINGS
from resources.errors import SultanaError
from tests.orchestration.deployment import Deployment, append_row
from tests.orchestration.ticks import Sensor, assets_of, carry_out


def execute(sensor: Sensor, request: dg.RunRequest) -> None:
    with open_instance(sensor.deployment.folder) as instance:
        assert carry_out(instance, request).success


@pytest.fixture
def sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sensor:
    """Sources that were read once, and a sensor that has seen them."""
    deployment = Deployment(tmp_path)
    deployment.folder.mkdir()
    monkeypatch.setenv("SULTANA_DATA", str(deployment.folder))
    deployment.run(to="benchmark_splits")
    deployment.run(to="raw_instructions")
    made = Sensor(deployment)
    assert made.ticks() == []
    return made


def test_a_change_is_asked_for_once(sensor: Sensor) -> None:
    append_row(sensor.deployment.source)
    assert sensor.tick() == [] and "waiting" in sensor.skipped
    (request,) = sensor.ticks()
    assert assets_of(request) == {"raw_instructions"}
    execute(sensor, request)
    assert sensor.ticks() == []
    assert sensor.deployment.stale() == set()


def test_a_touched_file_asks_for_nothing(sensor: Sensor) -> None:
    os.utime(sensor.deployment.source)
    sensor.deployment.source.rename(sensor.deployment.source.with_suffix(".old"))
    sensor.deployment.source.write_bytes(sensor.deployment.source.with_suffix(".old").read_bytes())
    assert sensor.ticks() == []
    assert "nothing has changed" in sensor.skipped


def test_content_counts_where_size_and_times_are_kept(sensor: Sensor) -> None:
    source = sensor.deployment.source
    before = source.stat()
    text = source.read_bytes()
    place = text.index(b'"output": "') + len(b'"output": "')
    source.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stat().st_size == before.st_size and source.stat().st_mtime_ns == before.st_mtime_ns
    assert len(sensor.ticks()) == 1


def test_a_file_that_is_being_written_is_waited_for(sensor: Sensor) -> None:
    for number in range(4):
        append_row(sensor.deployment.source, f"Say {number}.")
        assert sensor.tick() == []
    assert len(sensor.ticks()) == 1


def test_a_source_that_disappears_is_an_error_and_its_return_is_no_change(sensor: Sensor) -> None:
    source = sensor.deployment.source
    rows = source.read_bytes()
    source.unlink()
    for _ in range(2):
        with pytest.raises(SultanaError, match="does not exist"):
            sensor.tick()
    source.write_bytes(rows)
    assert sensor.ticks() == []


def test_another_source_is_still_read_while_one_has_disappeared(sensor: Sensor) -> None:
    sensor.deployment.source.unlink()
    append_row(Path(sensor.deployment.splits["test"][0]))
    found = []
    for _ in range(3):
        try:
            found += sensor.tick()
        except SultanaError:
            continue
    assert [assets_of(one) for one in found] == [{"benchmark_splits"}]


def test_a_run_that_failed_is_not_asked_for_again_and_the_next_change_is(sensor: Sensor) -> None:
    rows = sensor.deployment.source.read_bytes()
    append_row(sensor.deployment.source)
    (first,) = sensor.ticks()
    assert sensor.ticks() == []  # it was never carried out
    sensor.deployment.source.write_bytes(rows)
    assert sensor.ticks() == []  # what was read last again
    append_row(sensor.deployment.source)
    (second,) = sensor.ticks()
    assert second.run_key != first.run_key


def test_two_sources_that_change_together_are_one_run(sensor: Sensor) -> None:
    append_row(sensor.deployment.source)
    append_row(Path(sensor.deployment.splits["reward"][0]))
    (request,) = sensor.ticks()
    assert assets_of(request) == {"raw_instructions", "benchmark_splits"}


def test_a_folder_is_watched_for_new_and_removed_files(sensor: Sensor, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    sensor.deployment.source = sensor.deployment.source.rename(folder / "first.jsonl")
    sensor.deployment.source = folder
    sensor.deployment.run(to="raw_instructions")
    assert sensor.ticks() == []
    append_row(folder / "second.jsonl")
    (request,) = sensor.ticks()
    execute(sensor, request)
    (folder / "notes.txt").write_text("no source")
    assert sensor.ticks() == []
    (folder / "second.jsonl").unlink()
    assert len(sensor.ticks()) == 1


def test_the_settings_file_says_what_is_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment(tmp_path)
    monkeypatch.setenv("SULTANA_DATA", str(deployment.folder))
    sensor = Sensor(deployment)
    assert sensor.ticks() == [] and "names no file" in sensor.skipped
    source = {"name": "mine", "path": str(deployment.source)}
    bounds = {"config": {"minimum_readable_share": 0.9}}
    settings = tmp_path / "refresh.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "run_config": {
                    "ops": {
                        "raw_instructions": {"config": {"sources": [source]}},
                        "raw_instructions_checks": bounds,
                        "instructions": {"config": {"near_duplicate_threshold": 0.9}},
                    }
                }
            }
        )
    )
    monkeypatch.setenv(SETTINGS, str(settings))
    (request,) = sensor.ticks()
    assert set(request.run_config["ops"]) == {"raw_instructions", "raw_instructions_checks"}
    assert request.run_config["ops"]["raw_instructions_checks"] == bounds
    execute(sensor, request)
    assert sensor.ticks() == []
    append_row(deployment.source)
    assert len(sensor.ticks()) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ops: {}", "unknown key 'ops'"),
        ("run_config: {ops: {raw_instructions: {config: {maximum_rows: -1}}}}", "maximum_rows"),
        ("partitions: {strategy: [nonsense], seed: [0]}", "There is no strategy 'nonsense'"),
        ("run_config: [", "not valid YAML"),
    ],
)
def test_a_wrong_settings_file_is_refused_in_words(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path / "data"))
    settings = tmp_path / "refresh.yaml"
    settings.write_text(text)
    monkeypatch.setenv(SETTINGS, str(settings))
    with pytest.raises(SultanaError, match=problem):
        Sensor(Deployment(tmp_path)).tick()


def test_the_starter_corpus_is_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment(tmp_path)
    monkeypatch.setenv("SULTANA_DATA", str(deployment.folder))
    deployment.folder.mkdir()
    with open_instance(deployment.folder) as instance:
        config = {"ops": {"raw_instructions": {"config": {"starter": {"rows": 400}}}}}
        dg.materialize(
            [defs.resolve_asset_graph().get(dg.AssetKey("raw_instructions")).assets_def],
            instance=instance,
            run_config=config,
        )
    sensor = Sensor(deployment)
    assert sensor.ticks() == []
    assert "does not change" in sensor.skipped

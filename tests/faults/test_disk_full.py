"""R4: a disk that is full at 80 points: ten ways of writing, each with eight amounts of free space.

The state before is intact, what is said names the disk and a remedy, and the same work succeeds once there is room.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assets.failures import explain
from assets.records import Record
from resources.commits import CommitLog
from resources.files import folder_manifest, publish_folder, write_atomically
from resources.table_files import StoredFile
from resources.tables import LanceTables
from resources.tracking import Tracking
from tests.faults import pipeline, table_work, warm
from tests.faults.counts import SEED, tell
from tests.faults.disks import filled, free_bytes, small_disk

SHARES = (0.0, 0.02, 0.1, 0.25, 0.4, 0.6, 0.8, 0.95)
"""What is free, as shares of what the work needs."""

MODEL_BYTES = 1 << 20
ROWS = 4000
ONE_FILE = Record("plain", "id", table_work.SCHEMA)


def write_rows(folder: Path, number: int, table: str, mode: str) -> None:
    rows = {f"{number % 3 if mode == 'upsert' else number}-{place}": number for place in range(ROWS)}
    table_work.do(LanceTables(folder / "lance"), table_work.Work(number, table, mode, rows))  # type: ignore[arg-type]


def table_state(folder: Path) -> Any:
    tables = LanceTables(folder / "lance")
    if wrong := tables.check():
        raise AssertionError(wrong)
    refs = [ref for name in tables.commits.tables() for ref in tables.versions(name)]
    return {ref: tables.read(ref).num_rows for ref in refs if not tables.is_reclaimed(ref)}


def clean_up(folder: Path, number: int) -> None:
    table_work.do(LanceTables(folder / "lance"), table_work.Work(number, "", "append", {}))


def prepare_clean_up(folder: Path, number: int) -> None:
    for part in range(2):
        write_rows(folder, number * 2 + part, "plain", "overwrite")


def record_commit(folder: Path, number: int) -> None:
    files = [StoredFile(f"data/{number}-{place}.lance", place, f"{place:064x}") for place in range(2000)]
    CommitLog(folder / "commits.sqlite").record(
        "t", number, f"{number:064x}", 1, "id", f"key-{number}", "run", "asset", "tag", files
    )


def commits(folder: Path) -> Any:
    log = CommitLog(folder / "commits.sqlite")
    assert log.check() is None
    return [(commit, log.files(commit)) for commit in log.history("t")]


def publish(folder: Path, number: int) -> None:
    files = folder.with_name(f"{folder.name}-model-{number}")
    files.mkdir(exist_ok=True)
    (files / "weights").write_bytes(number.to_bytes(4, "big") * (MODEL_BYTES // 4))
    Tracking(None, folder / "mlflow").publish(
        name="m",
        idempotency_key=str(number),
        files=files,
        parameters={"number": number},
        step_metrics=[{"step": step, "loss": 1.0} for step in range(50)],
        inputs=[],
        tags={},
        aliases=["newest"],
    )


def published(folder: Path) -> Any:
    tracking = Tracking(None, folder / "mlflow")
    if wrong := [one.problem for one in tracking.check() if "did not finish" not in one.problem]:
        raise AssertionError(wrong)
    versions = [int(one.version) for one in tracking.versions("m")]
    for version in [*versions, tracking.aliases("m")["newest"]]:
        tracking.verify("m", version)
    return versions


def run_pipeline(folder: Path, number: int) -> None:
    pipeline.run(lambda _: None, pipeline.Place(folder), SEED, number, False)


def pipeline_state(folder: Path) -> Any:
    turns = tuple(range(len(SHARES) + 2))
    if wrong := pipeline.compare(pipeline.Place(folder), SEED, turns, False):
        raise AssertionError(wrong)
    return table_state(folder / "data")


def write_folder(folder: Path, number: int) -> None:
    temporary = folder / f".partial-{number}"
    temporary.mkdir(exist_ok=True)
    for name in ("a", "b"):
        (temporary / name).write_bytes(bytes(300_000))
    publish_folder(temporary, folder / f"published-{number}")


def write_file(folder: Path, number: int) -> None:
    write_atomically(folder / "file", bytes([number]) * 300_000)


def files(folder: Path) -> Any:
    return {name: value for name, value in folder_manifest(folder).items() if not name.startswith(".partial")}


@dataclass(frozen=True)
class Way:
    """One way of writing: `before` makes what is to be lost, `work` writes, `state` is what must stay."""

    mebibytes: int
    work: Callable[..., None]
    arguments: tuple[str, ...] = ()
    state: Callable[[Path], Any] = table_state
    before: Callable[[Path, int], None] = lambda folder, number: None


WAYS = {
    "overwrite": Way(24, write_rows, ("plain", "overwrite")),
    "append": Way(24, write_rows, ("plain", "append")),
    "upsert": Way(24, write_rows, ("plain", "upsert")),
    "indices": Way(24, write_rows, ("indexed", "append")),
    "clean-up": Way(24, clean_up, before=prepare_clean_up),
    "commit log": Way(12, record_commit, state=commits),
    "MLflow": Way(40, publish, state=published),
    "Dagster": Way(64, run_pipeline, state=pipeline_state),
    "files": Way(12, write_file, state=files),
    "folders": Way(12, write_folder, state=files),
}


SLOW = ("MLflow", "Dagster", "clean-up")


def attempt(name: str, folder: Path, number: int) -> tuple[str, str] | None:
    """What is said where the work fails, as the command line says it: the problem and the remedy."""
    try:
        WAYS[name].work(folder, number, *WAYS[name].arguments)
    except Exception as error:
        told = explain(error, folder)
        if told is None:
            raise
        return told.problem, told.remedy
    return None


def state(name: str, folder: Path) -> Any:
    return WAYS[name].state(folder)


def here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def fill(name: str, place: Path, call: Callable[..., Any] = here) -> int:
    """How often the work failed with so little room. Raises AssertionError where that did harm.

    Each step is `call`ed: a run of Dagster is over for the next one only when its process has ended.
    """
    way, folder, failures, used = WAYS[name], place / "store", 0, []
    folder.mkdir()
    for number in (0, 1):
        way.before(folder, number)
        free = free_bytes(place)
        if said := call(attempt, name, folder, number):
            raise AssertionError(said)
        used.append(free - free_bytes(place))
    needed = max(used[1], 64 << 10)
    for number, share in enumerate(SHARES, start=2):
        way.before(folder, number)
        old = call(state, name, folder)
        with filled(place, int(needed * share)):
            said = call(attempt, name, folder, number)
        if said is not None:
            failures += 1
            if (
                "full" not in said[0]
                or str(place) not in said[0]
                or not said[1].startswith("Free some space")
            ):
                raise AssertionError(said)
            if not is_intact(old, call(state, name, folder)):
                raise AssertionError(f"something is lost with {share:.0%} of what it needs")
            if said := call(attempt, name, folder, number):
                raise AssertionError(said)
        if call(state, name, folder) == old:
            raise AssertionError(f"nothing was written with {share:.0%} of what it needs")
    return failures


def is_intact(old: Any, now: Any) -> bool:
    """Whether everything that was there is there: what a work got done before it failed may have been added."""
    return bool(old.items() <= now.items()) if isinstance(old, dict) else bool(now[: len(old)] == old)


def fill_in_a_process(name: str, place: Path) -> None:
    with small_disk(place, WAYS[name].mebibytes):
        apart = name == "Dagster"
        failures = fill(name, place, warm.call) if apart else warm.call(fill, name, place)
    tell(f"{name}: {failures} of {len(SHARES)} failed, nothing lost")
    assert failures >= 3


@pytest.mark.parametrize("name", [name for name in WAYS if name not in SLOW])
def test_a_full_disk_keeps_the_old_state_and_says_so(tmp_path: Path, name: str) -> None:
    fill_in_a_process(name, tmp_path / "disk")


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_full_disk_under_the_slower_ways(tmp_path: Path, name: str) -> None:
    fill_in_a_process(name, tmp_path / "disk")

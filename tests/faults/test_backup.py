"""`sultana backup` while others write, killed in the middle, and damaged afterwards; `sultana restore` of it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from orchestration import doctor, restoring
from orchestration.backing_up import back_up
from orchestration.diagnosis.finding import Examined
from orchestration.instance import open_instance
from orchestration.restoring import restore
from resources.backup_files import MANIFEST, newest_whole
from resources.errors import SultanaError
from resources.tables import LanceTables
from resources.tracking import Tracking
from tests.faults import counts
from tests.faults.damaged_stores import edited_model
from tests.faults.damages import flipped_bit, missing_file
from tests.faults.scene import acknowledged, commits, copied, materialized, nothing_job, put, tree

ROOT = Path(__file__).parent.parent.parent
KILLS = counts.count("SULTANA_BACKUP_KILLS", 3)
OF_THE_MACHINE = {"Python", "packages", "embedded models", "disk", "memory", "language model and embedder"}
OF_THE_MACHINE |= {"port of the UI", "sandbox for generated code"}


@pytest.fixture
def data(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copied(whole, tmp_path / "data")
    monkeypatch.setenv("SULTANA_DATA", str(folder))
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def restored(place: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest backup, in a data folder of its own."""
    monkeypatch.setenv("SULTANA_DATA", str(to))
    restore(place)
    return to


def damage_of(data: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the doctor finds in a data folder."""
    checks = tuple(one for one in doctor.CHECKS if one[0] not in OF_THE_MACHINE)
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "CHECKS", checks)
        return [one.code for check in doctor.look(Examined(data, 4388)) for one in check.findings]


WRITER = """
import os
from pathlib import Path
from tests.faults.scene import materialized, put
from orchestration.instance import open_instance
from resources.tables import LanceTables

data = Path(os.environ["SULTANA_DATA"])
tables = LanceTables(data / "lance")
with open_instance(data) as instance:
    for number in range(100_000):
        ref = put(tables, f"written-{number}", "append", 50)
        print(tables.commits.head("numbers").sequence, flush=True)
        materialized(instance, ref)
"""


def test_a_backup_made_while_a_process_commits_is_restored_whole(
    data: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**os.environ, "SULTANA_DATA": str(data)}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER], stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True
    )
    try:
        assert writer.stdout is not None
        before = max(int(writer.stdout.readline()) for _ in range(3))
        made = back_up(place)
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.communicate()
    assert made["last_commit"] >= before and len(commits(data)) >= made["last_commit"]
    kept = acknowledged(data)
    new = restored(place, tmp_path / "new", monkeypatch)
    found = commits(new)
    assert sorted(one.sequence for one in found) == list(range(1, made["last_commit"] + 1))
    after = acknowledged(new)
    assert after.items() <= kept.items()  # byte for byte what was acknowledged, and nothing else
    tables = LanceTables(new / "lance")
    for commit in found:
        ref = next(one for one in tables.versions(commit.table) if one.version == commit.version)
        assert tables.read(ref).num_rows == commit.rows
    with Tracking(None, new / "mlflow").stored("small", 1) as folder:
        assert folder.is_relative_to(new)
    assert damage_of(new, monkeypatch) == []
    head = tables.head("numbers")
    assert head is not None and put(tables, "next").rows == head.rows + 200


KILLED = """
import os, signal, sys
from pathlib import Path
from orchestration import backing_up
from resources import backup_files

left = int(sys.argv[2])
def counted(call):
    def step(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return step

backup_files.Copying.add = counted(backup_files.Copying.add)
backup_files.Copying.made = counted(backup_files.Copying.made)
for name in ("sync_filesystem", "check_backup", "write_manifest", "finish"):
    setattr(backing_up, name, counted(getattr(backing_up, name)))
backing_up.back_up(Path(sys.argv[1]))
print(sys.argv[2], "steps were not enough")
"""


@pytest.mark.slow
def test_a_backup_that_was_killed_is_never_taken_for_one(
    data: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Path(back_up(place)["backup"])
    put(LanceTables(data / "lance"), "more")
    last = _steps(place, tmp_path) - 1
    drawn = random.Random(counts.SEED).sample(range(last), min(KILLS - 1, last))
    for at in (*drawn, last):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(place), str(at)], cwd=ROOT, timeout=300, check=False
        )
        assert killed.returncode == -signal.SIGKILL, f"seed {counts.SEED}, step {at} of {last}"
        assert newest_whole(place) == first, f"seed {counts.SEED}, step {at} of {last}"
        assert [path for path in place.iterdir() if not path.name.startswith(".")] == [first]
    new = restored(place, tmp_path / "new", monkeypatch)
    assert len(commits(new)) == 4
    monkeypatch.setenv("SULTANA_DATA", str(data))
    second = Path(back_up(place)["backup"])
    assert sorted(place.glob(".partial-*")) == [] and newest_whole(place) == second
    new = restored(place, tmp_path / "newer", monkeypatch)
    assert len(commits(new)) == 5 and damage_of(new, monkeypatch) == []


def _steps(place: Path, tmp_path: Path) -> int:
    """The steps that a backup of this folder takes: all that can be killed at."""
    elsewhere = tmp_path / "counted"
    count = KILLED.replace("left < 0", "False") + "\nprint(left)"
    done = subprocess.run(
        [sys.executable, "-c", count, str(elsewhere), "0"],
        cwd=ROOT,
        timeout=300,
        check=True,
        capture_output=True,
        text=True,
    )
    return -int(done.stdout.splitlines()[-1])


def cut_manifest(backup: Path) -> None:
    content = (backup / MANIFEST).read_bytes()
    (backup / MANIFEST).write_bytes(content[: len(content) // 2])


def edited_manifest(backup: Path) -> None:
    document = json.loads((backup / MANIFEST).read_bytes())
    document["files"].pop("lance/commits.sqlite")
    (backup / MANIFEST).write_text(json.dumps(document))


def without_manifest(backup: Path) -> None:
    (backup / MANIFEST).unlink()


def flipped(backup: Path) -> None:
    path = next(backup.rglob("*.safetensors"))
    path.write_bytes(b"\0\0" + path.read_bytes()[2:])


def without_file(backup: Path) -> None:
    next(backup.glob("lance/numbers.lance/data/*")).unlink()


def a_link(backup: Path) -> None:
    path = next(backup.glob("lance/numbers.lance/data/*"))
    shutil.move(path, backup.parent / "elsewhere")
    path.symlink_to(backup.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (cut_manifest, "backup-torn"),
        (edited_manifest, "backup-torn"),
        (without_manifest, "backup-missing"),
        (flipped, "backup-damaged"),
        (without_file, "backup-damaged"),
        (a_link, "backup-damaged"),
    ],
)
def test_a_damaged_backup_is_refused_and_nothing_is_written(
    data: Path,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    code: str,
) -> None:
    backup = Path(back_up(place)["backup"])
    change(backup)
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path / "new"))
    for given in (place, backup):
        with pytest.raises(SultanaError) as refused:
            restore(given)
        assert refused.value.code in (code, "backup-missing") and refused.value.remedy
    assert tree(tmp_path / "new") == {}


def test_what_is_there_already_is_linked_and_each_backup_stands_alone(
    data: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = back_up(place)
    second = back_up(place)
    assert second["linked_files"] == second["files"] == first["files"] and first["linked_files"] == 0
    put(LanceTables(data / "lance"), "more")
    third = back_up(place)
    assert 0 < third["bytes"] - third["linked_bytes"] < third["bytes"] / 2
    for made in (first, second):
        shutil.rmtree(made["backup"])
    new = restored(place, tmp_path / "new", monkeypatch)
    assert len(commits(new)) == 5 and acknowledged(new).items() <= acknowledged(data).items()


def test_what_is_damaged_in_the_backup_before_is_copied_again(
    data: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flipped(Path(back_up(place)["backup"]))
    second = back_up(place)
    assert second["linked_files"] == second["files"] - 1
    new = restored(place, tmp_path / "new", monkeypatch)
    assert acknowledged(new) == acknowledged(data)


@pytest.mark.parametrize("damage", [flipped_bit, missing_file, edited_model])
def test_a_damaged_data_folder_is_not_backed_up(
    data: Path, place: Path, damage: Callable[[Path], None]
) -> None:
    good = back_up(place)
    damage(data)
    for kept in (place, place.with_name("another")):
        try:
            back_up(kept)
        except SultanaError as error:
            assert error.code == "backup-of-damage"
        else:  # the file was not read: the one before is linked to, as it was acknowledged
            assert kept == place and damage in (flipped_bit, missing_file)
    shutil.rmtree(place.with_name("another"))
    assert Path(good["backup"]).is_dir()


def test_where_a_backup_cannot_be_kept_or_restored(
    data: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SultanaError, match="lie in one another"):
        back_up(data / "backups")
    back_up(place)
    before = tree(data)
    with pytest.raises(SultanaError, match="is not empty: it holds") as refused:
        restore(place)
    assert refused.value.code == "data-folder-not-empty" and tree(data) == before
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path / "none"))
    with pytest.raises(SultanaError, match="holds nothing to back up"):
        back_up(place)
    with pytest.raises(SultanaError, match="holds no whole backup"):
        restore(tmp_path / "nowhere")
    assert not (tmp_path / "none").exists() or not any((tmp_path / "none").iterdir())


def test_a_restoration_that_was_interrupted_is_used_by_nobody_and_goes_on(
    data: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(place)
    new = tmp_path / "new"
    monkeypatch.setenv("SULTANA_DATA", str(new))
    copy, left = restoring.copy_verified, [12]

    def killed(*arguments: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        copy(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "copy_verified", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(place)
    with pytest.raises(SultanaError, match="that did not end"):
        open_instance(new)
    with pytest.raises(SultanaError, match="that did not end"):
        back_up(tmp_path / "of-half")
    assert damage_of(new, monkeypatch) == ["restore-unfinished"]
    other = back_up_of(data, tmp_path / "other", monkeypatch, new)
    with pytest.raises(SultanaError, match="Another backup was being restored"):
        restore(other)
    restore(place)
    assert damage_of(new, monkeypatch) == [] and acknowledged(new) == acknowledged(data)


def back_up_of(data: Path, place: Path, monkeypatch: pytest.MonkeyPatch, back_to: Path) -> Path:
    monkeypatch.setenv("SULTANA_DATA", str(data))
    back_up(place)
    monkeypatch.setenv("SULTANA_DATA", str(back_to))
    return place


def test_runs_of_the_moment_of_the_backup_have_ended_afterwards(
    data: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_instance(data) as instance:
        run = instance.create_run_for_job(nothing_job, status=dg.DagsterRunStatus.STARTED)
        instance.event_log_storage.set_concurrency_slots("device", 1)
        instance.event_log_storage.claim_concurrency_slot("device", run.run_id, "step")
    back_up(place)
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path / "new"))
    assert restore(place)["ended_runs"] == [run.run_id]
    with open_instance(tmp_path / "new") as instance:
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None and ended.status == dg.DagsterRunStatus.FAILURE
        assert not instance.event_log_storage.get_concurrency_info("device").claimed_slots
        ref = LanceTables(tmp_path / "new" / "lance").head("numbers")
        assert ref is not None
        materialized(instance, ref)
    assert damage_of(tmp_path / "new", monkeypatch) == []


def test_what_is_in_postgresql_is_said_to_be_missing(data: Path, place: Path) -> None:
    settings = data / "dagster" / "dagster.yaml"
    settings.write_text(settings.read_text() + "storage:\n  postgres:\n    postgres_url: {env: X}\n")
    made = back_up(place)
    assert any("pg_dump" in one for one in made["not_in_it"])
    assert not list(Path(made["backup"]).glob("dagster/history/*"))

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resources import files
from resources.errors import SultanaError

ROOT = Path(__file__).parents[2]


def test_write_atomically_replaces_whole_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    files.write_atomically(path, b"old")
    files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SultanaError, match="disk that holds .* is full"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_publish_folder_syncs_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, final = tmp_path / "temporary", tmp_path / "final"
    (temporary / "sub").mkdir(parents=True)
    (temporary / "a").write_text("1")
    (temporary / "sub" / "b").write_text("2")
    steps: list[str] = []
    sync, rename = files.sync_path, Path.rename
    monkeypatch.setattr(files, "sync_path", lambda path: (steps.append(path.name), sync(path)))
    monkeypatch.setattr(Path, "rename", lambda one, other: (steps.append("rename"), rename(one, other)))
    files.publish_folder(temporary, final)
    assert set(steps[:-2]) == {"a", "b", "sub", "temporary"}
    assert steps[-2:] == ["rename", tmp_path.name]
    assert sorted(files.folder_manifest(final)) == ["a", "sub/b"]


def test_publish_folder_never_overwrites(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(SultanaError, match="exists already"):
        files.publish_folder(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "file").read_text() == "two"


def test_folder_manifest_is_sorted_and_skips_only_its_own_file(tmp_path: Path) -> None:
    for name in ("b", "a", "MANIFEST.json", "sub/MANIFEST.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    manifest = files.folder_manifest(tmp_path)
    assert list(manifest) == ["a", "b", "sub/MANIFEST.json"]
    assert manifest["a"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_folder_manifest_refuses_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(SultanaError, match="is a link"):
        files.folder_manifest(tmp_path)


def test_the_lock_excludes_threads(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with files.exclusive_lock(tmp_path / "lock"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_the_lock_names_its_holder_and_is_freed_by_a_kill(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = (
        "import sys, time; from pathlib import Path; from resources.files import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(lock)], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    start = time.monotonic()
    expected = pytest.raises(SultanaError, match=f"held by process {holder.pid} .* within 0.2 seconds")
    with expected, files.exclusive_lock(lock, timeout=0.2):
        pass
    assert time.monotonic() - start < 2
    holder.kill()
    holder.wait()
    with files.exclusive_lock(lock, timeout=1):
        pass


def test_sync_filesystem_reports_a_missing_path(tmp_path: Path) -> None:
    files.sync_filesystem(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.sync_filesystem(tmp_path / "missing")


def test_without_syncfs_every_file_and_every_name_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "table"
    (folder / "data").mkdir(parents=True)
    for name in ("manifest", "data/rows"):
        (folder / name).touch()
    (folder / "link").symlink_to("manifest")
    synced: list[str] = []
    monkeypatch.setattr(files, "sync_path", lambda path: synced.append(path.name))
    monkeypatch.setattr(files, "_libc", object)
    files.sync_filesystem(folder)
    assert sorted(synced[:-2]) == ["data", "manifest", "rows"] and synced.index("rows") < synced.index("data")
    assert synced[-2:] == ["table", tmp_path.name]


def test_a_folder_that_is_made_has_its_name_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_path", synced.append)
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and synced == [tmp_path, tmp_path / "a"]
    files.make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_file_made_aside_is_whole_or_absent(tmp_path: Path) -> None:
    final = tmp_path / "file"
    (tmp_path / ".file.partial").mkdir()
    (tmp_path / ".file.partial" / "left by a kill").touch()
    with pytest.raises(InterruptedError), files.made_aside(final) as place:
        place.write_bytes(b"half")
        raise InterruptedError
    assert os.listdir(tmp_path) == []
    with files.made_aside(final) as place:
        place.write_bytes(b"whole")
        assert not final.exists()
    assert final.read_bytes() == b"whole" and os.listdir(tmp_path) == ["file"]
    assert final.stat().st_mode & 0o777 == 0o600

"""Looks at sources are cheap, and the Hub is asked for its newest commit and nothing else."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assets.identity import digest
from assets.instructions import sources
from assets.instructions.changes import UNVERSIONED_SECONDS, content, look
from assets.instructions.raw import SourceSpec, source_fingerprint
from resources.errors import SultanaError
from resources.files import sha256_file
from tests.orchestration.servers import http_server

PROJECT = Path(__file__).resolve().parents[2]
ROW = b'{"instruction": "Say yes.", "input": "", "output": "yes"}\n'
# The Hub's address is read when its client is imported.
LOOK = """
import sys
from assets.instructions.changes import look
from assets.instructions.raw import SourceSpec
print(look([SourceSpec("hub", sys.argv[1])]))
"""


def look_at_hub(address: str, uri: str, offline: str = "0") -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, uri],
        env={
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HUB_OFFLINE": offline,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        },
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_a_new_commit_of_a_hub_dataset_is_seen() -> None:
    newest = ["a" * 40]
    with http_server(
        lambda _: (200, json.dumps({"id": "acme/chat", "sha": newest[0], "siblings": []}).encode())
    ) as asked:
        first = look_at_hub(asked.address, "hf://datasets/acme/chat")
        again = look_at_hub(asked.address, "hf://datasets/acme/chat")
        newest[0] = "b" * 40
        second = look_at_hub(asked.address, "hf://datasets/acme/chat")
        seen = len(asked)
        look_at_hub(asked.address, f"hf://datasets/acme/chat@{'c' * 40}")
    assert first == again != second
    assert len(first) == len(second) == 64
    assert [one["path"] for one in asked] == ["/api/datasets/acme/chat"] * 3
    assert seen == len(asked)  # a pinned commit is not asked for


def test_the_hub_is_not_asked_offline() -> None:
    with http_server(lambda _: (200, b"{}")) as asked:
        shown = look_at_hub(asked.address, "hf://datasets/acme/chat", offline="1")
    assert "this process is offline" in shown and "HF_HUB_OFFLINE=0" in shown
    assert asked == []


def test_a_server_that_tells_no_version_is_read_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_ALLOWED_NETWORKS", "127.0.0.0/8")
    with http_server(lambda _: (200, ROW)) as asked:
        specs = [SourceSpec("remote", f"{asked.address}/rows.jsonl")]
        start = look(specs, now=0.0)
        assert look(specs, now=UNVERSIONED_SECONDS - 1.0) == start
        assert look(specs, now=float(UNVERSIONED_SECONDS)) != start


def test_a_look_reads_no_file_and_the_content_is_what_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(ROW)
    specs = [SourceSpec("mine", str(file))]
    before = look(specs)
    assert content(specs) == digest(source_fingerprint(specs))
    assert content({"reward": specs}) == digest({"reward": source_fingerprint(specs)})
    file.unlink()
    with pytest.raises(SultanaError, match="does not exist"):
        look(specs)
    file.write_bytes(ROW)
    assert look(specs) != before


def test_other_settings_of_a_source_are_another_look(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(ROW)
    assert look([SourceSpec("mine", str(file))]) != look([SourceSpec("mine", str(file), licence="MIT")])


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_of_many_files_only_the_changed_ones_are_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in range(number):
        (tmp_path / f"{one}.jsonl").write_bytes(ROW)
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr(sources, "sha256_file", counted)
    monkeypatch.setattr(sources, "_SETTLED_NANOSECONDS", 0)
    specs = [SourceSpec("many", str(tmp_path))]
    begun = time.thread_time()
    before = look(specs)
    assert time.thread_time() - begun < 1 and not read
    first = content(specs)
    assert len(read) == number
    read.clear()
    assert content(specs) == first and read == []
    (tmp_path / "7.jsonl").write_bytes(ROW * 2)
    assert look(specs) != before and content(specs) != first
    assert [one.name for one in read] == ["7.jsonl"]

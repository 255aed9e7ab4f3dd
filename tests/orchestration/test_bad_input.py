"""Each bad input gives one sentence, a status that is not 0, and nothing half-written."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.faults import warm

ROW = json.dumps({"instruction": "Name a colour.", "input": "", "output": "Blue."}) + "\n"
PROJECT = Path(__file__).resolve().parents[2]


def sultana(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which has imported all before: that takes the longest."""
    shown, errors = data.with_name("shown.txt"), data.with_name("errors.txt")
    environment = {**os.environ, "SULTANA_DATA": str(data)}
    status = warm.call(command, arguments, environment, shown, errors, seconds=240)
    return subprocess.CompletedProcess(arguments, status, shown.read_text(), errors.read_text())


def command(
    arguments: Sequence[str], environment: Mapping[str, str], shown: Path, errors: Path
) -> int | str | None:
    from orchestration.cli import main

    os.environ.update(environment)
    os.chdir(PROJECT)
    sys.argv = ["sultana", *arguments]
    for path, stream in ((shown, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    try:
        main()
    except SystemExit as ended:
        return ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def refused(found: subprocess.CompletedProcess[str], *words: str) -> None:
    assert found.returncode == 1, found.stdout + found.stderr
    lines = [line for line in found.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("sultana: "), found.stderr
    for word in words:
        assert word in lines[0], lines[0]


def no_table(data: Path, name: str) -> None:
    from resources.tables import LanceTables

    if (data / "lance").exists():
        assert LanceTables(data / "lance").head(name) is None


def to_instructions(path: Path) -> Sequence[str]:
    return ("run", "--preset", "smoke", "--source", str(path), "--to", "raw_instructions")


def test_a_missing_file(data: Path, tmp_path: Path) -> None:
    refused(sultana(data, *to_instructions(tmp_path / "none.jsonl")), "none.jsonl")
    no_table(data, "raw_instructions")


def test_an_empty_source(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    refused(sultana(data, *to_instructions(tmp_path / "empty.jsonl")), "empty.jsonl")
    no_table(data, "raw_instructions")


def test_a_folder_with_one_broken_file(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jsonl").write_text(ROW)
    whole = gzip.compress((ROW * 500).encode())
    (folder / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    refused(sultana(data, *to_instructions(folder)), "b.jsonl.gz")
    no_table(data, "raw_instructions")


def test_a_file_of_nothing_but_bad_rows(data: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"question_text": 1}\n' * 3)
    refused(sultana(data, *to_instructions(tmp_path / "bad.jsonl")), "3 rows")


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("ops: {interpolated_instructions: {config: {alfa: 1}}}", "alfa"),
        ("ops: {interpolated_instructions: {config: {alpha: -1}}}", "alpha"),
        ("ops: {interpolated_instructions: {config: {pairing: sideways}}}", "pairing"),
        ("ops: {curriculums: {config: {}}}", "curriculums"),
        ("ops: [", "YAML"),
        ("resources: {language_model: {config: {modell: x}}}", "modell"),
    ],
)
def test_a_wrong_field(data: Path, tmp_path: Path, config: str, word: str) -> None:
    (tmp_path / "config.yaml").write_text(config)
    found = sultana(data, "run", "--config", str(tmp_path / "config.yaml"))
    refused(found, word)
    assert not (data / "lance").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--preset", "huge"), "huge"),
        (("--to", "nothing"), "nothing"),
        (("--strategy", "best"), "best"),
        (("--strategy", "raise-two rounds"), "two rounds"),
        (("--seed=-1",), "-1"),
    ],
)
def test_an_unknown_choice(data: Path, arguments: Sequence[str], word: str) -> None:
    refused(sultana(data, "run", *arguments), word)


def test_a_model_that_is_not_there(data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        f"resources: {{embedder: {{config: {{model: {tmp_path / 'no-model'}}}}}}}"
    )
    found = sultana(
        data,
        "run",
        "--preset",
        "smoke",
        "--config",
        str(tmp_path / "config.yaml"),
        "--to",
        "instruction_embeddings",
    )
    refused(found, "no-model")


def test_a_full_disk(data: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        (tmp_path / "rows.jsonl").write_text(
            "".join(
                json.dumps({"instruction": os.urandom(400).hex(), "input": "", "output": "Blue."}) + "\n"
                for _ in range(12_000)
            )
        )
        refused(sultana(disk, *to_instructions(tmp_path / "rows.jsonl")), "full", str(disk))
        no_table(disk, "raw_instructions")
    finally:
        subprocess.run(["umount", str(disk)], check=True)

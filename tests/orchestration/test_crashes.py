"""A crash leaves a report, and nothing of rows, arguments, environment or paths is in it."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.failures import crashed, explained_failure, explained_op
from assets.retries import tried_again
from orchestration.definitions import defs
from resources.crash_report import FOLDER, KEPT, OUTSIDE, place, report, write_report
from resources.errors import SultanaError

PROJECT = Path(__file__).resolve().parents[2]
CANARY = "canary-7f3a91"


def raised(row: str) -> BaseException:
    """A crash over a row: the canary is in a local variable, a message, a cause and a note."""
    secret = {"row": row}
    try:
        try:
            raise OSError(errno.EBADF, f"bad {secret}", f"/home/{row}/rows.jsonl")
        except OSError as inner:
            error = KeyError(f"no {secret}")
            error.add_note(row)
            raise error from inner
    except KeyError as outer:
        return outer


def test_a_report_says_where_and_nothing_of_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_SECRET", CANARY)
    monkeypatch.chdir(tmp_path)
    file = write_report(tmp_path, report(raised(CANARY), "sultana run", ["--source"]))
    text = file.read_text()
    assert CANARY not in text
    for private in (str(Path.home()), os.uname().nodename, str(tmp_path), str(PROJECT)):
        assert private not in text or private == "/"
    told = json.loads(text)
    assert (told["doing"], told["options"]) == ("sultana run", ["--source"])
    assert [one["type"] for one in told["errors"]] == ["builtins.KeyError", "builtins.OSError"]
    assert told["errors"][1]["errno"] == errno.EBADF
    (frame,) = told["errors"][0]["frames"]
    assert frame["file"] == "tests/orchestration/test_crashes.py" and frame["function"] == "raised"
    assert told["versions"]["dagster"] and told["platform"]["machine"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_errors_in_groups_are_told_apart() -> None:
    group = ExceptionGroup(CANARY, [raised(CANARY), ValueError(CANARY)])
    told = report(group, "x")
    assert [[one["type"] for one in each] for each in told["errors"][0]["errors"]] == [
        ["builtins.KeyError", "builtins.OSError"],
        ["builtins.ValueError"],
    ]
    assert CANARY not in json.dumps(told)


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        (str(PROJECT / "assets" / "failures.py"), "assets/failures.py"),
        (
            f"/home/{CANARY}/lib/python3.11/site-packages/dagster/_core/x.py",
            "site-packages/dagster/_core/x.py",
        ),
        (f"/home/{CANARY}/mine.py", OUTSIDE),
        (str(PROJECT / CANARY / "mine.py"), OUTSIDE),
        ("<template>", OUTSIDE),
        (json.__file__, "python/json/__init__.py"),
    ],
)
def test_a_file_is_named_only_where_it_is_code(file: str, shown: str) -> None:
    assert place(file) == shown


def test_foreign_code_is_not_named() -> None:
    space: dict[str, Any] = {}
    exec(
        compile(f"def {CANARY.replace('-', '_')}():\n    raise ValueError(1)", f"/home/{CANARY}.py", "exec"),
        space,
    )
    try:
        space[CANARY.replace("-", "_")]()
    except ValueError as error:
        told = report(error, "x")
    assert told["errors"][0]["frames"][-1] == {"file": OUTSIDE}
    assert "canary" not in json.dumps(told)


def test_only_the_newest_reports_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT + 3):
        last = write_report(tmp_path, {"number": number})
    assert len(list((tmp_path / FOLDER).iterdir())) == KEPT and last.is_file()


def test_a_report_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("")
    told = crashed(raised(CANARY), tmp_path, "sultana run")
    assert told.code == "defect" and "could not be written" in str(told) and CANARY not in str(told)


def test_a_command_that_crashes_ends_with_one_sentence(tmp_path: Path) -> None:
    code = (
        "import orchestration.model_export as module\n"
        "def export_model(*arguments, **named):\n"
        f"    raise KeyError({CANARY!r}, arguments)\n"
        "module.export_model = export_model\n"
        "from orchestration.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "export-model", f"sultana@{CANARY}", f"/tmp/{CANARY}", "--merge"]
    environment = {**os.environ, "SULTANA_DATA": str(tmp_path / "data"), "SULTANA_X": CANARY}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    (file,) = (tmp_path / "data" / FOLDER).iterdir()
    assert done.stderr.startswith("sultana: sultana export-model met a defect of Sultana: KeyError at ")
    assert done.stderr.endswith("[defect]\n") and done.stderr.count("\n") == 1
    assert str(file) in done.stderr and CANARY not in done.stderr + done.stdout
    told = json.loads(file.read_text())
    assert told["doing"] == "sultana export-model" and told["options"] == ["--merge"]
    assert CANARY not in file.read_text()
    whole = subprocess.run(
        command,
        cwd=PROJECT,
        env={**environment, "SULTANA_TRACEBACK": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert whole.returncode == 1 and "Traceback" in whole.stderr and f"KeyError: ('{CANARY}'" in whole.stderr


@dg.asset
@tried_again
def broken_asset(context: dg.AssetExecutionContext) -> None:
    """An asset that crashes over a row."""
    raise raised(CANARY)


@dg.op
@explained_op
def broken_op(context: dg.OpExecutionContext) -> None:
    """An op that crashes over a row."""
    raise raised(CANARY)


@pytest.mark.parametrize("what", ["asset", "op"])
def test_the_error_of_a_step_says_where_the_report_lies(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    if what == "asset":
        result = dg.materialize([broken_asset], raise_on_error=False)
    else:
        job = dg.GraphDefinition(name="broken", node_defs=[broken_op]).to_job()
        result = job.execute_in_process(raise_on_error=False)
    (event,) = result.filter_events(lambda one: one.is_step_failure)
    (file,) = (tmp_path / FOLDER).iterdir()
    stored = dg.serialize_value(event)
    assert str(file) in stored and "[defect]" in stored and f"The step broken_{what} met a defect" in stored
    assert CANARY not in stored and CANARY not in file.read_text()


def test_every_step_ends_with_a_sentence() -> None:
    """Assets by `tried_again` and ops by `explained_op`; of checks, what they measure."""
    checks = {one.op.name for one in defs.asset_checks or () if isinstance(one, dg.AssetsDefinition)}
    bare = {
        node.name
        for job in defs.resolve_all_job_defs()
        for node in job.all_node_defs
        if isinstance(node, dg.OpDefinition) and not hasattr(node.compute_fn.decorated_fn, "__wrapped__")  # type: ignore[union-attr]
    }
    assert bare <= checks, f"without a sentence: {bare - checks}"


def test_what_is_no_defect_leaves_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    ours, dagsters = SultanaError("It is wrong", "Mend it", code="file-damaged"), dg.Failure("stopped")
    assert explained_failure(ours, "x") is ours and explained_failure(dagsters, "x") is dagsters
    for error, code in (
        (OSError(errno.EIO, "Input/output error", "/disk/x"), "machine-fault"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk-full"),
        (MemoryError(), "memory-exhausted"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "permission-denied"),
    ):
        told = explained_failure(error, "x")
        assert isinstance(told, SultanaError) and told.code == code
    assert not (tmp_path / FOLDER).exists()

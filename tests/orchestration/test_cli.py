"""The command line for newcomers and for programs: help, JSON on standard output alone, exit statuses."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterExecutionInterruptedError
from typer.testing import CliRunner

from orchestration.cli import app
from orchestration.commands.shared import answer, explained
from orchestration.status import show_status
from resources.errors import SultanaError
from resources.files import exclusive_lock

PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = [one.name or one.callback.__name__.replace("_", "-") for one in app.registered_commands]


def test_commands_come_in_flow_order() -> None:
    told = CliRunner().invoke(app, ["--help"]).stdout
    panels = ["Make a model", "Judge it", "Use it", "This machine"]
    assert [told.index(panel) for panel in panels] == sorted(told.index(panel) for panel in panels)
    assert "Exit status: 0" in told


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_and_tells_its_exit_statuses(command: str) -> None:
    found = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert found.exit_code == 0
    examples = [line.strip() for line in found.stdout.splitlines() if line.strip().startswith("sultana ")]
    assert examples and all(line.split()[1] == command for line in examples), found.stdout
    assert "130 stopped by the keyboard" in found.stdout


@pytest.mark.parametrize(
    "arguments",
    [("nothing",), ("run", "--seed", "x"), ("report",), ("ui", "--port", "0"), ("status", "--jason")],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == 2 and found.stdout == "" and "Try" in found.stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DagsterExecutionInterruptedError()])
def test_what_was_stopped(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    with pytest.raises(typer.Exit) as exit, explained():
        raise error
    assert exit.value.exit_code == 130
    assert (
        capsys.readouterr().err
        == "sultana: Stopped by the keyboard. Run the same command again. [interrupted]\n"
    )


def test_a_defect_is_left_to_the_entry_point_and_a_fault_is_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import typer

    with pytest.raises(KeyError), explained():
        raise KeyError("x")
    with pytest.raises(typer.Exit) as exit, explained(as_json=True) as console:
        console.print("on the way")
        raise SultanaError("It is wrong", "Mend it", code="file-damaged")
    assert exit.value.exit_code == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err == "on the way\nsultana: It is wrong. Mend it. [file-damaged]\n"


def test_numbers_without_a_json_form_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    answer({"value": float("nan")}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"value": None}
    answer({"value": 1}, as_json=False)
    assert capsys.readouterr().out == ""


def test_ctrl_c_ends_a_run_with_a_sentence(data: Path, tmp_path: Path) -> None:
    """A run that is interrupted inside a step: it waits for the table's lock, which this test holds."""
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"instruction": "Name a colour.", "input": "", "output": "Blue."}) + "\n")
    command = ["run", "--source", str(source), "--to", "raw_instructions"]
    with exclusive_lock(data / "lance" / ".locks" / "raw_instructions.lock"):
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, "SULTANA_DATA": str(data)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert process.stdout is not None
        assert any(line.startswith("▸ raw_instructions") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert errors.startswith("sultana: Stopped by the keyboard.") and errors.count("\n") == 1


def test_an_interrupt_that_a_library_logs_is_told_once() -> None:
    program = """
import logging, sqlalchemy, signal
from orchestration.commands.shared import explained
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background begins without
engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.NullPool)
engine.dialect.do_close = lambda connection: signal.raise_signal(signal.SIGINT)
with explained():
    logging.getLogger("other").error("still told")
    engine.connect().close()
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, check=False, timeout=240
    )
    assert found.stderr.startswith("still told\nsultana: Stopped by the keyboard."), found.stderr
    assert "Exception closing connection" not in found.stderr


def test_status_for_programs_is_what_people_see(data: Path) -> None:
    from rich.console import Console

    found = CliRunner().invoke(app, ["status", "--json"])
    assert found.exit_code == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["data_folder"] == str(data)
    assert {one["state"] for one in document["assets"]} == {"not materialized"}
    with open(os.devnull, "w") as nothing:
        console = Console(file=nothing, record=True, width=140)
        show_status(document, console)
        told = console.export_text()
    assert all(one["asset"] in told for one in document["assets"])

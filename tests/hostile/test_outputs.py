"""One set of hostile texts through every way out: terminal, JSON, Dagster, pages, pictures, MLflow, filters."""

import io
import json
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from rich.table import Table
from typer.testing import CliRunner

from assets.lineage.report.chain_figure import chain_figure
from assets.presentation import bars, cell, preview, svg, table
from orchestration import alerts, command_jobs
from orchestration.commands.shared import answer
from orchestration.console import ConsoleSink, PlainConsole, error, open_console
from resources.errors import SultanaError
from resources.publishing import all_versions
from resources.tables import LanceTables
from resources.text import (
    check_name,
    escape_json,
    escape_markdown_cell,
    escape_terminal,
    id_filter,
    sql_quote,
)
from resources.tracking import InputTable, Tracking, check_alias

HOSTILE = {
    "colours": "\x1b[31mred\x1b[0m",
    "a cleared screen": "\x1b[2J\x1b[H$ sudo rm -rf /",
    "a title": "\x1b]0;title\x07",
    "a link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "the clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "a command of one byte": "\x9b31mred\x9d0;title\x9c",
    "an overwritten line": "all is well\rnothing is",
    "backspaces": "good\x08\x08\x08\x08evil",
    "another direction": "user\u202e gnp.exe\u2066x\u2069",
    "no width": "ad\u200bmin\u2060\ufeff",
    "tags": "fine\U000e0041\U000e0042",
    "other line ends": "a\u2028b\u2029c\x0bd\x0ce\x85f",
    "markup of rich": "[link=https://evil.example]click[/link] [bold red]x[/bold red] [blink]y",
    "markup that ends nothing": "[/nope] [/]",
    "emoji by name": ":warning: :skull:",
    "HTML": "<img src=x onerror=alert(1)><script>alert(2)</script></style></title><svg/onload=alert(3)>",
    "an entity": "&lt;b&gt; &#60;i&#62;",
    "a link in Markdown": "[x](javascript:alert(1)) ![y](https://evil.example/y.png) <https://evil.example>",
    "a table in Markdown": "a | b |\n|---|---|\n# heading\n- item\n> quote\n```\ncode",
    "a formula": "$\\frac{1}{$ $$x$$ =HYPERLINK(\"https://evil.example\",\"x\")",
    "front matter": "---\nlicense: mit\n---",
    "a template": "{{ 7 * 7 }} {% include '/etc/passwd' %} ${7*7} %s%n %(x)s {0.__class__}",
    "a filter": "zzz' OR '1'='1",
    "another filter": "x`; DROP TABLE runs; --\" OR 1=1 /*",
    "NUL": "a\x00b",
    "a path": "../../etc/passwd",
}  # fmt: skip
EVERY = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
ALL = "\n".join(HOSTILE.values())
ROOT = Path(__file__).parents[2]


def controls(shown: str, but: str = "\n") -> list[str]:
    """Characters that drive a terminal or hide something."""
    return [
        one for one in shown if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one not in but
    ]


# On a terminal


def _board(text: str) -> Table:
    board = Table(title=text, caption=text)
    board.add_column(text)
    board.add_row(text)
    board.add_row(f"[b]{text}", end_section=True)
    return board


SHOWN: dict[str, Callable[[PlainConsole, str], Any]] = {
    "a line": lambda console, text: console.print(text),
    "a line as markup": lambda console, text: console.print(text, markup=True, emoji=True),
    "several": lambda console, text: console.print(text, 1, text, sep="\n"),
    "a table": lambda console, text: console.print(_board(text)),
    "a rule": lambda console, text: console.rule(text),
    "a log": lambda console, text: console.log(text, log_locals=False),
}


@EVERY
@pytest.mark.parametrize("how", SHOWN)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_console_shows_every_text_as_it_is(text: str, how: str, is_terminal: bool) -> None:
    file = io.StringIO()
    console = PlainConsole(
        file=file, force_terminal=is_terminal, width=400, color_system=None, highlight=False, log_time=False
    )
    SHOWN[how](console, text)
    assert not controls(file.getvalue())
    assert "https://evil.example]" in file.getvalue() or "[link" not in text
    assert how in ("a rule",) or ":warning:" in file.getvalue() or ":warning:" not in text


@EVERY
def test_the_console_s_own_styles_are_all_that_a_terminal_gets(text: str) -> None:
    file = io.StringIO()
    console = PlainConsole(
        file=file, force_terminal=True, width=400, color_system="truecolor", highlight=False
    )
    console.print(_board(text))
    # rich makes the title italic and headers bold; nothing else begins with an escape.
    assert not controls(file.getvalue().replace("\x1b[3m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
                        .replace("\x1b[2;3m", ""))  # fmt: skip


@EVERY
@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_shows_every_label_as_it_is(text: str, is_terminal: bool) -> None:
    file = io.StringIO()
    console = PlainConsole(
        file=file, force_terminal=is_terminal, width=200, color_system=None, highlight=False
    )
    with ConsoleSink(console) as sink:
        sink.begin(text)
        sink.update(text, 0, 10, text, False)
        sink.last_line[text] = -100.0
        sink.update(text, 5, 10, text, False)
        sink.progress.refresh()
        sink.warn(text)
        sink.update(text, 10, 10, text, True)
        sink.end(text, text)
    found = file.getvalue()
    for own in ("\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[1A", "\r"):
        found = found.replace(own, "")  # the cursor hidden, shown, and put back by rich
    assert not controls(found)
    for markup in ("[link=", "[/nope]"):
        assert markup in found or markup not in text


@EVERY
def test_errors_are_one_visible_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    error(str(SultanaError(text, text, code="file-damaged")))
    shown = capsys.readouterr().err
    assert shown.endswith("\n") and shown.count("\n") == 1 and not controls(shown)


@EVERY
def test_the_answer_for_programs_is_safe_to_look_at_and_means_the_same(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer({text: [text, {"deep": text}]}, as_json=True)
    shown = capsys.readouterr().out
    assert not controls(shown) and json.loads(shown) == {text: [text, {"deep": text}]}
    assert json.loads(escape_json(json.dumps(text, ensure_ascii=False))) == text


WRONG = [
    "trace {}",
    "compare {} {}",
    "generate {} --prompt hi",
    "report {}",
    "export {} out",
    "{}",
    "run --preset {}",
]


@pytest.mark.parametrize("command", WRONG)
def test_what_a_user_types_wrongly_is_shown_as_it_is(
    command: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.cli import app

    monkeypatch.setenv("NO_COLOR", "1")
    for text in (HOSTILE["colours"], HOSTILE["a command of one byte"], HOSTILE["markup that ends nothing"]):
        asked = [part.replace("{}", text) for part in command.split(" ")]
        found = CliRunner().invoke(app, asked)
        assert found.exit_code in (1, 2) and not isinstance(found.exception, ValueError | AttributeError)
        assert not controls(found.output), asked


def test_no_other_console_and_no_other_way_to_the_terminal() -> None:
    """What the tests above hold for one class holds for every command."""
    found = set()
    for room in ("assets", "orchestration", "resources"):
        for path in (ROOT / room).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            if "Console(" in source or "rich.print" in source or "Text.from_" in source:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {"orchestration/console.py"}
    assert isinstance(open_console(), PlainConsole) and isinstance(command_jobs.new_console(), PlainConsole)


# In Dagster


@EVERY
def test_what_dagster_shows_of_rows_is_visible(text: str) -> None:
    rows = pa.table({"text": [text], "messages": [[{"role": text, "content": text}]]})
    for shown in (table([{"a": text, "b": [text], "c": {"d": text}}]), preview(rows)):
        values = [value for record in shown.records for value in record.data.values()]
        assert values and not [one for one in values if controls(str(one), "")]
    assert not controls(str(cell([{"file": text, "position": 1}])), "")
    assert len(str(cell(text * 1000))) < 2000


@EVERY
def test_a_picture_in_markdown_holds_pixels_and_its_title_alone(text: str) -> None:
    shown = bars({text: 3.0, f"{text} 2": 1.0}, title="Rows", x="rows")
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert shown.md_str is not None and shown.md_str.startswith("![Rows](data:image/png;base64,")
    assert not set(shown.md_str[30:-1]) - set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
    )


@EVERY
def test_the_title_of_an_alert_is_one_line(text: str) -> None:
    run = dg.DagsterRun(job_name="full", tags={alerts.PARTITION: text})
    title = alerts.failure_alert(run, [{"step": "a", "error": "b"}]).title
    assert not controls(title, "")


# In pages and pictures


@EVERY
def test_names_in_a_drawing_are_text(text: str) -> None:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_yticks([0], [escape_terminal(text, 40)])
        axes.set_title(escape_terminal(text, 40))

    made = [
        svg(draw, (3, 2), "figure"),
        chain_figure(
            [
                {
                    "asset": text,
                    "upstream": [],
                    "tables": [{"rows": 1, "version": text}],
                    "code_version": text,
                    "git_commit": text,
                }
            ]
        ),
    ]
    for one in made:
        names = {node.tag.rsplit("}", 1)[-1] for node in ElementTree.fromstring(one).iter()}
        assert names <= {
            "svg",
            "g",
            "path",
            "rect",
            "text",
            "tspan",
            "defs",
            "style",
            "use",
            "clipPath",
            "metadata",
        }
        attributes = {key.lower() for node in ElementTree.fromstring(one).iter() for key in node.attrib}
        assert not [key for key in attributes if key.startswith("on")]
        assert not controls(one)


@EVERY
def test_a_cell_of_markdown_is_text(text: str) -> None:
    shown = escape_markdown_cell(text)
    assert not set(shown) & set("<>|`[]*\n\r\"'") and not controls(shown, "")


# In MLflow and in filters


@EVERY
def test_names_that_stand_in_paths_and_filters_are_refused(text: str) -> None:
    for refused in (
        lambda: check_name(text, "Model"),
        lambda: check_alias(text),
        lambda: id_filter("row_id", [text]),
        lambda: all_versions(None, text),  # type: ignore[arg-type]
        lambda: LanceTables(Path("/nowhere")).path(text),
        lambda: Tracking(None, Path("/nowhere"), experiment=text),
    ):
        with pytest.raises(SultanaError) as caught:
            refused()
        assert not controls(str(caught.value), "")


def test_a_quoted_text_finds_itself_alone(tmp_path: Path) -> None:
    import lance

    texts = [*HOSTILE.values(), "plain"]
    dataset = lance.write_dataset(pa.table({"id": texts}), str(tmp_path / "t.lance"))
    for text in texts:
        found = dataset.to_table(filter=f"id = {sql_quote(text)}")["id"].to_pylist()
        assert found == [text]


def test_hostile_values_in_mlflow_are_values(tmp_path: Path) -> None:
    """Parameters, tags, names of tables and metrics: stored as they are, and every other run is left alone."""
    tracking = Tracking(None, tmp_path / "mlflow")
    files = tmp_path / "files"
    files.mkdir()
    (files / "model.safetensors").write_bytes(b"weights")
    inputs = [InputTable(text[:30], text, 1, "0" * 64, 1, pa.schema([("a", pa.string())])) for text in
              (HOSTILE["HTML"], HOSTILE["another filter"])]  # fmt: skip
    harmless = {text: text for text in HOSTILE.values() if "\x00" not in text}

    def published(key: str) -> Any:
        return tracking.publish(
            name="sultana",
            idempotency_key=key,
            files=files,
            parameters={f"p{place}": text for place, text in enumerate(harmless)},
            step_metrics=[{"step": 0, "loss": 1.0}],
            inputs=inputs,
            tags={f"t{place}": text for place, text in enumerate(harmless)},
            aliases=["candidate"],
            run_name=HOSTILE["HTML"],
        )

    one = published(HOSTILE["a filter"])
    two = published(HOSTILE["another filter"])
    assert (one.version, two.version) == (1, 2)
    assert published(HOSTILE["a filter"]).version == 1  # found again by its key, and by no other
    with tracking.client() as client:
        run = client.get_run(one.run_id)
        assert [run.data.params[f"p{place}"] for place in range(len(harmless))] == list(harmless)
        assert [run.data.tags[f"t{place}"] for place in range(len(harmless))] == list(harmless)


def test_the_whole_set_in_one_text_through_a_command(data: Path, tmp_path: Path) -> None:
    """A real process, real pipes: the name of a file that holds everything but what no file name can."""
    name = "".join(one for one in ALL if one not in "/\0")[:80] + ".jsonl"
    (tmp_path / name).write_text('{"instruction": "a", "output": 5}\n', encoding="utf-8")
    shown = subprocess.run(
        [
            sys.executable,
            "-m",
            "orchestration.cli",
            "run",
            "--preset",
            "smoke",
            "--sources",
            str(tmp_path / name),
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=180,
    )
    text = (shown.stdout + shown.stderr).decode("utf-8")
    assert shown.returncode in (1, 2) and not controls(text) and "Traceback" not in text

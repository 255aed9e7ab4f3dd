"""Whatever is written on the command line or into a configuration: it is taken, or one sentence says what is wrong."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import orchestration.run
from orchestration.cli import app
from orchestration.run import Request, plan
from orchestration.settings import CONFIGURATIONS, RESOURCES, check_configuration, read_yaml
from resources.errors import SultanaError
from resources.text import escape_terminal
from resources.yaml_text import parse_yaml

EXAMPLES = int(os.environ.get("SULTANA_FUZZ_SETTINGS", "200"))
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONGEST_SENTENCE = 3_000

ODD_TEXT = st.one_of(
    st.sampled_from(
        ["", " ", "\0", "\n", "..", "../..", "/", "~nobody", "-", "--", "\u202e", "a\x1b[2J", "a" * 5_000, "null",
         "0", "-1", "1e999", "nan", "raise", "raise-", "m@champion", "m/1", "m/99999999999999999999", "m@", "\udcff",
         "hf://datasets/a/b", "http://127.0.0.1/x", "file:///dev/zero", "/proc/self/environ", "zip://a::b", "**/**/**",
         "${HOME}", "{{ 1 }}", "'; drop table x; --"]
    ),
    st.text(max_size=12),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from(
        [2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e308]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, ODD_TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(ODD_TEXT, NUMBERS, st.none()), inner, max_size=3),
    ),
    max_leaves=8,
)
SOURCE_FIELDS = st.dictionaries(
    st.sampled_from(["name", "path", "format", "shape", "revision", "score_fields", "x"]), VALUES, max_size=4
)


def _fields(configuration: type[Any]) -> st.SearchStrategy[Any]:
    """Values for some of a configuration's settings; sometimes for one that there is not."""
    names = st.sampled_from([*configuration.model_fields, "nothing"])
    return st.dictionaries(names, st.one_of(VALUES, st.lists(SOURCE_FIELDS, max_size=2)), max_size=3)


def _part(known: dict[str, type[Any]]) -> st.SearchStrategy[Any]:
    one = st.sampled_from(sorted(known)).flatmap(
        lambda name: _fields(known[name]).map(lambda fields: {name: {"config": fields}})
    )
    return st.one_of(one, VALUES, st.dictionaries(st.sampled_from(sorted(known)), VALUES, max_size=2))


RUN_CONFIGS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "ops": _part(CONFIGURATIONS),
            "resources": _part({k: type(v) for k, v in RESOURCES.items()}),
        },
    ),
    st.dictionaries(st.one_of(ODD_TEXT, NUMBERS), VALUES, max_size=2),
)


def _one_sentence(error: SultanaError) -> None:
    shown = escape_terminal(str(error))
    assert error.problem and error.remedy and len(shown) < LONGEST_SENTENCE, f"{len(shown)}: {shown[:500]}"


@FUZZED
@given(run_config=RUN_CONFIGS)
def test_a_configuration_is_taken_or_refused(run_config: dict[Any, Any]) -> None:
    try:
        check_configuration(run_config)
    except SultanaError as error:
        _one_sentence(error)


@FUZZED
@given(run_config=RUN_CONFIGS)
def test_a_configuration_in_a_file_is_taken_or_refused(tmp_path: Path, run_config: dict[Any, Any]) -> None:
    file = tmp_path / "config.yaml"
    try:
        file.write_text(yaml.safe_dump(run_config))
    except UnicodeEncodeError:
        return
    try:
        plan(Request(config=file))
    except SultanaError as error:
        _one_sentence(error)


FRAGMENTS = [
    "ops:", " ", "\n", "{", "}", "[", "]", "- ", "&a ", "*a", "!!python/object/apply:os.system [ls]", "!!int x",
    "!!float ", "!!timestamp x",
    "!!bool x", "!!binary x", "!!set {a}", "2001-99-99", "<<: ", "? ", ": ", "|\n", "\t", "---\n", "~",
    "%YAML 9.9\n", "\u0085", "0x", "1:99:99", "'", '"', "\\", "#", "config:", "\ufeff", "\x07",
]  # fmt: skip


@FUZZED
@given(fragments=st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=25))
def test_text_is_yaml_or_refused(tmp_path: Path, fragments: list[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes("".join(fragments).encode("utf-8", "surrogatepass"))
    try:
        check_configuration(read_yaml(file, "run configuration"))
    except SultanaError as error:
        _one_sentence(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 5_000, "nests too deep"),
        ("a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ), "stands for more than"),
        ("a: &a [*a]", "stands for more than"),
        ("x" * (1 << 21), "characters"),
        ("a: 2001-99-99", "form of its type"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
    ids=["deep", "billion laughs", "a value that holds itself", "long", "no such day", "python"],
)  # fmt: skip
def test_yaml_that_is_made_to_hurt(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_yaml(text)


OPTIONS = {
    "run": [
        "--preset",
        "--config",
        "--source",
        "--reward",
        "--test",
        "--maximum-rows",
        "--strategy",
        "--seed",
        "--to",
    ],
    "status": ["--json"],
    "compare": ["--rows", "--json"],
    "report": ["--tracking-uri"],
    "promote": ["--margin", "--accuracy-margin", "--guard", "--loss-tolerance", "--force", "--reason"],
    "rollback": ["--reason"],
    "audit": ["--rows", "--page", "--verify", "--every-row", "--replay", "--json"],
    "trace": ["--text", "--match"],
    "prove": [],
    "retract": ["--source", "--licence", "--file", "--reason", "--erase", "--dry-run", "--undo", "--list"],
    "retractions": ["--json"],
    "generate": ["--prompt", "--seed", "--temperature", "--maximum-new-tokens", "--tracking-uri"],
    "export": ["--format", "--strategy", "--seed", "--json"],
    "export-model": ["--merge", "--tracking-uri"],
    "export-lineage": ["--tracking-uri"],
    "maintain": ["--older-than"],
    "nothing": [],
}
ARGUMENTS = st.sampled_from(sorted(OPTIONS)).flatmap(
    lambda command: st.lists(
        st.one_of(ODD_TEXT, st.sampled_from([*OPTIONS[command], "--nothing"])), max_size=5
    ).map(lambda rest: [command, *rest])
)
_DRAWN = re.compile(r"Traceback \(most recent call last\)")


@settings(FUZZED, max_examples=max(EXAMPLES // 2, 50))
@given(arguments=ARGUMENTS)
def test_a_command_line_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, empty_data: Path, arguments: list[str]
) -> None:
    # Bytes outside UTF-8 arrive as lone surrogates, so those are among the texts; NUL cannot arrive at all.
    given_ = [one.replace("\0", "") for one in arguments]
    found = CliRunner().invoke(app, given_, env={"COLUMNS": "400"})
    assert found.exception is None or isinstance(found.exception, SystemExit), (given_, repr(found.exception))
    assert found.exit_code in (0, 1, 2), given_
    assert not _DRAWN.search(found.output)
    if found.exit_code == 1:
        lines = [one for one in found.stderr.splitlines() if one.strip()]
        assert len(lines) == 1 and lines[0].startswith("sultana: "), (given_, found.stderr)
    if found.exit_code == 2:
        assert "Error" in found.stderr and found.stdout == ""


@pytest.fixture(scope="module")
def empty_data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An empty data folder; runs are planned, and not carried out."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("SULTANA_DATA", str(folder))
        patch.chdir(tmp_path_factory.mktemp("here"))
        patch.setattr(orchestration.run, "run_request", lambda request, console: plan(request))
        yield folder

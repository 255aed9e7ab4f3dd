import re
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resources import text
from resources.errors import SultanaError

HOSTILE = ["zzz' OR '1'='1", "'", "''", "\\'", "\\", "a\nb", "--", "/*", '"', "%", "\u2019", "😀", "\x00"]


@pytest.fixture(scope="module")
def table_of_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import lance

    path = tmp_path_factory.mktemp("texts") / "t.lance"
    lance.write_dataset(pa.table({"id": [*HOSTILE, "plain"]}), str(path))
    return path


@pytest.mark.parametrize("value", HOSTILE)
def test_a_quoted_hostile_text_finds_itself_only(table_of_texts: Path, value: str) -> None:
    import lance

    found = lance.dataset(str(table_of_texts)).to_table(filter=f"id = {text.sql_quote(value)}")
    assert found["id"].to_pylist() == [value]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(max_size=30))
@example(value="' OR true --")
def test_quoting_never_changes_what_a_filter_means(table_of_texts: Path, value: str) -> None:
    import lance

    count = lance.dataset(str(table_of_texts)).count_rows(filter=f"id = {text.sql_quote(value)}")
    assert count == int(value in HOSTILE or value == "plain")


def test_id_filter_keeps_the_named_ids_and_none_for_none(tmp_path: Path) -> None:
    import lance

    path = str(tmp_path / "t.lance")
    lance.write_dataset(pa.table({"id": ["a", "b:1:0", "c"]}), path)
    dataset = lance.dataset(path)
    assert dataset.to_table(filter=text.id_filter("id", ["b:1:0", "c"]))["id"].to_pylist() == ["b:1:0", "c"]
    assert dataset.count_rows(filter=text.id_filter("id", [])) == 0


@pytest.mark.parametrize("one", ["", "a b", "a'b", "x" * 129, "a\n", "é", None])
def test_id_filter_refuses_odd_ids(one: str) -> None:
    with pytest.raises(SultanaError, match="is not a legal id"):
        text.id_filter("id", ["fine", one])


def test_id_filter_refuses_odd_columns() -> None:
    with pytest.raises(ValueError, match="not a column name"):
        text.id_filter("id = id OR id", ["a"])


@pytest.mark.parametrize("name", ["a", "A-1.b_c", "x" * 64, "9"])
def test_legal_names(name: str) -> None:
    assert text.check_name(name, "Model") == name


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", "a..b", "a/b", "a b", "x" * 65, "a\n", "é", "a'b", "\u202ea"]
)
def test_illegal_names_are_named_and_made_visible(name: str) -> None:
    with pytest.raises(SultanaError, match="Model .* is not a legal name") as error:
        text.check_name(name, "Model")
    assert str(error.value).isprintable()


@given(st.text())
def test_terminal_text_is_one_visible_line(value: str) -> None:
    shown = text.escape_terminal(value)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")]


def test_terminal_text_spells_control_characters() -> None:
    assert text.escape_terminal("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\n\\u202eb"
    assert text.escape_terminal("abcdef", 4) == "abc…"


@given(st.text())
def test_a_markdown_cell_holds_no_markup(value: str) -> None:
    cell = text.escape_markdown_cell(value)
    assert not re.sub(r"&#[0-9]+;", "", cell).strip("…") or not set(re.sub(r"&#[0-9]+;", "", cell)) & set(
        "&<>\"'|`*_~[](){}!#$\\\n\r\t"
    )


def test_a_markdown_cell_shows_what_was_there() -> None:
    assert text.escape_markdown_cell("a|b\n<i>") == "a&#124;b&#92;n&#60;i&#62;"
    assert text.escape_markdown_cell("x" * 500, 10) == "x" * 9 + "…"


def test_lines_stay_lines_and_cannot_drive_a_terminal() -> None:
    assert text.escape_lines("a\x1b]0;title\x07b\nc\u202ed\r") == "a\\x1b]0;title\\x07b\nc\\u202ed\\r"
    assert text.escape_lines("one\ntwo\nthree", 6) == "one\nt…"

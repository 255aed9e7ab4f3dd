"""Every error has a code that means one thing, and the page lists exactly these."""

import os
import re
from collections import Counter

import pytest

from resources.errors import SultanaError, TransientError
from tests.orchestration.errors_page import CODES, PAGE, PASSED_ON, errors, meanings, page

SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def test_an_error_says_what_to_do_and_which_kind_it_is() -> None:
    error = TransientError("The disk is full. ", "Free some space.", code="disk-full")
    assert str(error) == "The disk is full. Free some space. [disk-full]"
    assert (error.problem, error.remedy, error.code) == ("The disk is full", "Free some space", "disk-full")
    with pytest.raises(TypeError):
        SultanaError("It is wrong", "Mend it")  # type: ignore[call-arg]


def test_every_error_in_the_source_has_a_code() -> None:
    found = errors()
    assert len(found) > 300
    without = [one.where for one in found if one.code is None]
    assert not without, f"no code that can be read: {without}"
    wrong = [one.where for one in found if one.code != PASSED_ON and not SLUG.fullmatch(str(one.code))]
    assert not wrong, f"no kebab-case: {wrong}"


def test_every_code_has_one_meaning_and_none_is_left_over() -> None:
    listed = [code for codes in meanings().values() for code in codes]
    assert [code for code, count in Counter(listed).items() if count > 1] == []
    # YAML keeps the last of two equal keys, so they are counted in the text.
    assert len(listed) == len(re.findall(r"(?m)^  [a-z0-9-]+: ", CODES.read_text()))
    used = {one.code for one in errors()} - {PASSED_ON}
    assert used - set(listed) == set(), "explain these in error_codes.yaml"
    assert set(listed) - used == set(), "nothing raises these any more"
    told = [meaning for codes in meanings().values() for meaning in codes.values()]
    assert len(set(told)) == len(told)
    assert all(re.fullmatch(r"[A-Z].*\.", meaning) for meaning in told)


def test_the_page_lists_exactly_these() -> None:
    now = page()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        PAGE.write_text(now, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == now, (
        "The errors changed. If that is meant: UPDATE_SNAPSHOTS=1 python -m pytest tests/orchestration/test_errors.py"
    )

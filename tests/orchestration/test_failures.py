"""Failures become one sentence; a defect keeps its traceback."""

import errno
import sqlite3
from pathlib import Path

import pytest

from assets.failures import causes, explain
from resources.errors import SultanaError

FOLDER = Path("/somewhere")


def chained(inner: BaseException) -> BaseException:
    try:
        try:
            raise inner
        except BaseException as error:
            raise RuntimeError("a step failed") from error
    except RuntimeError as outer:
        return outer


def test_our_own_errors_are_found_however_deep() -> None:
    error = SultanaError("The file a is missing", "Check the path", code="source-not-found")
    assert explain(chained(chained(error)), FOLDER) is not None
    assert explain(chained(error), FOLDER) is error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.OperationalError("disk I/O error"),
        OSError("LanceError(IO): Generic LocalFileSystem error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_in_all_its_forms(error: BaseException) -> None:
    found = explain(chained(error), FOLDER)
    assert found is not None and "full" in str(found) and str(FOLDER) in str(found)


def test_a_defect_is_not_explained_away() -> None:
    assert explain(chained(KeyError("x")), FOLDER) is None


def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert list(causes(one)) == [one, two]

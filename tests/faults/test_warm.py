"""Processes that are forked: none may hang, and one that does says where."""

import os
import time

import pytest

from tests.faults import warm


def _threads_of_the_parent() -> int:
    return len(os.listdir(f"/proc/{os.getppid()}/task"))


def _sleep_here() -> None:
    time.sleep(60)


def test_what_is_forked_from_has_one_thread() -> None:
    assert warm.call(_threads_of_the_parent) == 1


def test_a_process_without_an_answer_says_where_it_is() -> None:
    with pytest.raises(AssertionError, match=r"no answer within 1 s(.|\n)*in _sleep_here"):
        warm.call(_sleep_here, seconds=1.0)

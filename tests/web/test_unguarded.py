"""The same attacks on Dagster's own web server do change things: what refuses them is the guard."""

import sys
from pathlib import Path

import pytest

from tests.web.attacks import Target, requests
from tests.web.conftest import unguarded
from tests.web.raw import send


@pytest.mark.slow
def test_without_the_guard_attacks_change_things(tmp_path: Path) -> None:
    with unguarded(tmp_path) as server:
        changed, broken, state = [], [], server.state()
        for name, attack in requests(Target(server.port, server.run)):
            try:
                status = send(server.port, attack, timeout=10).status
            except TimeoutError:  # it opened the connection, or waits for what was only said to come
                status = 0
            if status >= 500:
                broken.append(name)
            if server.state() != state:
                changed.append(name)
                state = server.state()
    sys.stdout.write(
        f"\nchanged something: {len(changed)}: {changed}\nbroke the server: {len(broken)}: {broken}\n"
    )
    assert {"mutation by GET", "launch by GET", "plain text that says JSON"} <= set(changed)
    assert len(broken) >= 5

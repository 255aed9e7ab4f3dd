"""A Dagster instance and a data folder without a model: these checks load none."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    """Nothing is recorded yet."""
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.instance_for_test(temp_dir=str(home)) as instance:
        yield Recorded(tmp_path, instance)

"""A refresh costs what has changed: one row in a hundred changed, one vector in a hundred made."""

from pathlib import Path

import pytest

from assets.materialized import materializations
from orchestration.instance import open_instance
from tests.orchestration.deployment import Deployment


@pytest.mark.slow
def test_one_per_cent_of_the_rows_costs_one_per_cent_of_the_embedding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment(tmp_path, rows=2400)
    monkeypatch.setenv("SULTANA_DATA", str(deployment.folder))
    deployment.folder.mkdir()

    def embed() -> tuple[int, int]:
        deployment.run(to="instruction_embeddings")
        with open_instance(deployment.folder) as instance:
            shown = materializations(instance, "instruction_embeddings")[0].metadata
        return int(shown["newly_embedded_rows"].value), int(shown["dagster/row_count"].value)  # type: ignore[arg-type]

    first, rows = embed()
    assert first == rows > 200
    changed = round(rows / 100)
    deployment.change_rows(changed)
    assert embed() == (changed, rows)

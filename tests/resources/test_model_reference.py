"""MODEL, MODEL@ALIAS, MODEL/VERSION: what they mean, and what is said where they mean nothing."""

from pathlib import Path

import pytest

from resources.errors import SultanaError
from resources.model_reference import Reference, parse_reference, resolve
from resources.tracking import Tracking


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sultana", Reference("sultana")),
        ("sultana@candidate", Reference("sultana", alias="candidate")),
        ("sultana/12", Reference("sultana", version=12)),
    ],
)
def test_the_three_forms(text: str, wanted: Reference) -> None:
    assert parse_reference(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "@a", "a@", "a@v1", "a/", "a/b", "a/0", "a/-1", "a/1/2", "a/²", "../a", "a\x1b[2J", "a@b/1"]
)
def test_other_forms_are_refused_and_shown_escaped(text: str) -> None:
    with pytest.raises(SultanaError) as error:
        parse_reference(text)
    assert "\x1b" not in str(error.value)


def test_resolving(tracking: Tracking, tmp_path: Path) -> None:
    def means(text: str, *defaults: str) -> int:
        return int(resolve(tracking, parse_reference(text), *([defaults] if defaults else [])).version)

    with pytest.raises(SultanaError, match="no registered model 'm'.*none yet"):
        means("m")
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "weights").write_bytes(bytes([number]))
        tracking.publish(
            name="m",
            idempotency_key=str(number),
            files=tmp_path / str(number),
            parameters={},
            step_metrics=[],
            inputs=[],
            tags={},
            aliases=["candidate"] if number == 1 else [],
        )
    assert means("m") == 2  # the candidate
    assert means("m", "champion") == 3  # none of the defaults is set: the newest
    tracking.set_alias("m", "champion", 1)
    assert means("m") == 1
    assert means("m/3") == 3 and means("m@candidate") == 2
    with pytest.raises(SultanaError, match="no version 4. Its versions: 1, 2, 3"):
        means("m/4")
    with pytest.raises(
        SultanaError, match=r"no alias 'best'. Its aliases: candidate \(version 2\), champion"
    ):
        means("m@best")
    with pytest.raises(SultanaError, match="no registered model 'n'. Registered models: m"):
        means("n")

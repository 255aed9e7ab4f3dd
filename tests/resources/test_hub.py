"""The Hub's failures are sentences: off, out of reach, refused."""

from pathlib import Path

import pytest

from resources.errors import SultanaError
from resources.hub import fetch_model, hub_explained

COMMIT = "0" * 40


def unreachable() -> BaseException:
    """What the client raises where no connection can be made."""
    from huggingface_hub.errors import HfHubHTTPError

    library = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    return library("[Errno -2] Name or service not known")


@pytest.mark.parametrize("error", [unreachable(), OSError("broken pipe")])
def test_the_network_is_named(error: BaseException) -> None:
    with (
        pytest.raises(SultanaError, match="The dataset a/b could not be fetched.*network"),
        hub_explained("The dataset a/b"),
    ):
        raise error


def test_a_model_that_was_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SultanaError, match="HF_HUB_OFFLINE=0"):
        fetch_model("owner/name", COMMIT, ["*.json"], tmp_path)


@pytest.mark.parametrize("revision", [None, "main", "v1.0"])
def test_a_revision_is_a_commit(revision: str | None, tmp_path: Path) -> None:
    with pytest.raises(SultanaError, match="no pinned revision"):
        fetch_model("owner/name", revision, ["*.json"], tmp_path)


def test_defects_pass() -> None:
    with pytest.raises(KeyError), hub_explained("The dataset a/b"):
        raise KeyError("x")

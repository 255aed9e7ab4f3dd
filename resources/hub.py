"""The Hugging Face Hub: models by pinned commit, and its failures in words."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from resources.errors import SultanaError, TransientError
from resources.text import escape_terminal

_COMMIT = re.compile(r"[0-9a-f]{40}")


@contextmanager
def hub_explained(what: str) -> Iterator[None]:
    """Failures of the Hub's client leave the block as SultanaError about `what`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    # Where no connection is made, the client raises the error of its HTTP library, and which library that is
    # differs between releases. Its own error for refusals is derived from it.
    unreachable: type[Exception] = next(
        base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"
    )
    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        if constants.HF_HUB_OFFLINE:
            raise SultanaError(
                f"{what} is not on this machine, and the Hub was not asked",
                "Set HF_HUB_OFFLINE=0 to allow the download, or give a local folder",
                code="hub-offline",
            ) from error
        raise TransientError(
            f"{what} is not on this machine, and the Hub cannot be reached",
            "Check the network, or give a local folder",
            code="hub-unreachable",
        ) from error
    except HFValidationError as error:
        raise SultanaError(
            f"{what} has no legal name: {escape_terminal(str(error), 200)}",
            "Write it as owner/name",
            code="name-invalid",
        ) from error
    except (unreachable, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 503)
        raise (TransientError if status == 429 or status >= 500 else SultanaError)(
            f"{what} could not be fetched from the Hub: {escape_terminal(str(error), 200)}",
            "Check its name and revision, the network, and HF_TOKEN where it is private or gated",
            code="hub-fetch-failed",
        ) from error


def fetch_model(model: str, revision: str | None, files: Sequence[str], cache: Path | None = None) -> Path:
    """The folder of a Hub model at a commit, downloaded where it is not in `cache` yet.

    `files` are glob patterns of what to fetch. Raises SultanaError where `revision` is no commit, or the
    model cannot be had.
    """
    from huggingface_hub import snapshot_download

    if revision is None or not _COMMIT.fullmatch(revision):
        raise SultanaError(
            f"The Hub model {model} has no pinned revision (given: {revision})",
            "Set revision to the commit, 40 hexadecimal digits, shown on the model's page",
            code="revision-not-pinned",
        )
    with hub_explained(f"The Hub model {model} at {revision}"):
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(files), cache_dir=cache))

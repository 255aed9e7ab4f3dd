"""Whether two machines run the same code: results are equal only where they do."""

import functools
import hashlib
import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from resources.errors import SultanaError

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("assets", "resources")
PACKAGES = ("numpy", "peft", "pyarrow", "rensa", "scipy", "tokenizers", "torch", "transformers")
"""What numbers and hashes are computed with."""


@functools.cache
def code_facts() -> dict[str, str]:
    """What must be the same wherever parts are worked on: Sultana's source, Python, packages."""
    source = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            source.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    facts = {"sultana": source.hexdigest()[:16], "python": platform.python_version()}
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts


class Fingerprinted(Protocol):
    """A model that can say which one it is."""

    def fingerprint(self) -> str:
        """A hash of all that its numbers depend on."""


def check_model(model: Fingerprinted, expected: str) -> None:
    """Raises SultanaError where the model found here is another than the one that was asked for."""
    if model.fingerprint() != expected:
        raise SultanaError(
            f"The files of a model on {socket.gethostname()} are not those of the machine that asked for it",
            "Put the same files there, or the model into a folder that all nodes share",
            code="worker-model-differs",
        )


def check_alike(expected: dict[str, str], where: str) -> None:
    """Raises SultanaError where this process runs other code than `expected`; `where` names its machine."""
    found = code_facts()
    for name, value in expected.items():
        if found.get(name) != value:
            raise SultanaError(
                f"The worker on {where} has {name} {found.get(name)}, and this machine {value}",
                "Install the same version of Sultana and of its packages on every node, constraints.txt included",
                code="worker-differs",
            )


def not_shared(path: Path) -> SultanaError:
    """The error for what lies on the machine that gave a part, and is not seen by the worker that does it."""
    return SultanaError(
        f"The worker on {socket.gethostname()} does not see {path}",
        "Let all nodes share that folder under the same path",
        code="path-not-shared",
    )

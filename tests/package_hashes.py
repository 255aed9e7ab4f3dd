"""Writes the hashes of every pinned package: `python -m tests.package_hashes INDEX [FILE ...]`.

INDEX is the address of a package index that answers by PEP 691 (JSON). Of each pinned version all files for the
supported Pythons are listed, whatever their platform, so that one file serves all machines. FILEs are further builds
of pinned versions that another index has, such as torch for processors alone. Versions are changed by hand, in the
files themselves.
"""

import hashlib
import json
import re
import sys
import urllib.request
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PINNED = (
    ROOT / "constraints.txt",
    ROOT / "resources" / "cuda_packages.txt",
    ROOT / "resources" / "ray_packages.txt",
)
PYTHONS = (11, 12)


def is_supported(name: str, version: Version) -> bool:
    """Whether a file of this name is the version, as source or as a wheel that a supported Python takes."""
    try:
        if not name.endswith(".whl"):
            return parse_sdist_filename(name)[1] == version
        _, found, _, tags = parse_wheel_filename(name)
    except (InvalidSdistFilename, InvalidWheelFilename):  # an installer of former times
        return False
    return found == version and any(_takes(tag.interpreter, tag.abi) for tag in tags)


def _takes(interpreter: str, abi: str) -> bool:
    kind, digits = interpreter.rstrip("0123456789"), interpreter.lstrip("cpy")
    if not digits.startswith("3"):
        return False
    minor = int(digits[1:] or 0)
    if abi in ("abi3", "none"):
        return minor <= PYTHONS[-1]
    return kind == "cp" and minor in PYTHONS and abi == interpreter


def hashes(index: str, name: str, version: Version) -> set[str]:
    """The SHA-256 of every supported file of the version."""
    request = urllib.request.Request(
        f"{index.rstrip('/')}/{canonicalize_name(name)}/",
        headers={"Accept": "application/vnd.pypi.simple.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    return {
        one["hashes"]["sha256"]
        for one in files
        if not one.get("yanked") and is_supported(one["filename"], version)
    }


def with_hashes(line: str, index: str, others: list[Path]) -> str:
    """A line `name==version ; marker` with its hashes as they are now."""
    bare = re.sub(r"\s+--hash=\S+", "", line).strip()
    requirement = Requirement(bare)
    (pin,) = requirement.specifier
    version = Version(pin.version)
    found = hashes(index, requirement.name, version)
    for file in others:
        name, built, _, _ = parse_wheel_filename(file.name)
        if name == canonicalize_name(requirement.name) and built.public == version.public:
            found.add(hashlib.sha256(file.read_bytes()).hexdigest())
    if not found:
        raise SystemExit(f"{bare}: the index has no file of it")
    return " ".join([bare, *(f"--hash=sha256:{one}" for one in sorted(found))])


def main(index: str, *others: str) -> None:
    """Rewrites the files with the hashes of their versions."""
    for file in PINNED:
        lines = file.read_text(encoding="utf-8").splitlines()
        done = [
            line
            if not line or line.startswith("#")
            else with_hashes(line, index, [Path(one) for one in others])
            for line in lines
        ]
        file.write_text("\n".join(done) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

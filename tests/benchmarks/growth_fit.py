"""Lines of `growth`, the exponents fitted to them, and their table."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LINEAR = 1.1
"""Exponents up to here count as linear: the steps of sorting, and the spread of single measurements."""

CPU = "CPU"
LEAST_SECONDS = 0.05
LEAST_MIB = 4.0
"""Below, a measurement says nothing about growth: starting and rounding are as large."""


@dataclass(frozen=True)
class Line:
    """One measurement: of the work alone, but `peak_mib` of the whole process, which held `held_mib` before."""

    stage: str
    rows: int
    cpu_seconds: float
    wall_seconds: float
    peak_mib: float
    held_mib: float
    bytes: int
    found: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    load: float = 0.0

    @property
    def name(self) -> str:
        """The stage, and the device where that is no CPU: its figures are others, its memory the device's own."""
        device = self.found.get("device", CPU)
        return self.stage if device == CPU else f"{self.stage}, {device}"

    @property
    def work_mib(self) -> float:
        """Memory that the work took beside what the process held."""
        return max(0.0, self.peak_mib - self.held_mib)

    def to_json(self) -> str:
        """The line as it is kept."""
        return json.dumps(asdict(self))


def read_lines(file: Path) -> list[Line]:
    """The newest line of each stage and size, by stage as they first came and by size; none where there is no file."""
    if not file.exists():
        return []
    newest: dict[tuple[str, int], Line] = {}
    order: dict[str, int] = {}
    for text in file.read_text(encoding="utf-8").splitlines():
        line = Line(**json.loads(text))
        newest[line.stage, line.rows] = line
        order.setdefault(line.stage, len(order))
    return sorted(newest.values(), key=lambda line: (order[line.stage], line.rows))


def exponent(points: Iterable[tuple[float, float]]) -> float | None:
    """b of y = a x^b by least squares of logarithms; None for fewer than two different x."""
    pairs = [(x, y) for x, y in points if x > 0 and y > 0]
    if len({x for x, _ in pairs}) < 2:
        return None
    logarithms = np.log(np.array(pairs))
    return float(np.polyfit(logarithms[:, 0], logarithms[:, 1], 1)[0])


def time_exponent(lines: Iterable[Line]) -> float | None:
    """Of CPU-seconds over rows."""
    return exponent((one.rows, one.cpu_seconds) for one in lines if one.cpu_seconds >= LEAST_SECONDS)


def memory_exponent(lines: Iterable[Line]) -> float | None:
    """Of the memory of the work over rows."""
    return exponent((one.rows, one.work_mib) for one in lines if one.work_mib >= LEAST_MIB)


def by_stage(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Lines of each stage, by size; those of a device that is no CPU under a name of their own."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.name, []).append(line)
    return {name: sorted(ones, key=lambda one: one.rows) for name, ones in found.items()}


def table(lines: Iterable[Line], bounds: Mapping[str, str]) -> str:
    """A Markdown table, one line for each measurement; exponents stand in the last line of each stage.

    Below it, what grows faster than its rows, and what bounds it (`bounds` by stage; empty: nothing does).
    """
    text = [
        "| stage | rows | CPU-s | µs a row | s | peak MiB | held before | bytes a row | time | memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    beyond = []
    for name, ones in by_stage(lines).items():
        exponents = [time_exponent(ones), memory_exponent(ones)]
        for number, one in enumerate(ones):
            last = number == len(ones) - 1
            shown = [f"n^{found:.2f}" if last and found is not None else "" for found in exponents]
            text.append(
                f"| {name} | {one.rows:,} | {one.cpu_seconds:.2f} | {1e6 * one.cpu_seconds / one.rows:,.1f} | "
                f"{one.wall_seconds:.2f} | {one.peak_mib:,.0f} | {one.held_mib:,.0f} | "
                f"{one.bytes / one.rows:,.0f} | {shown[0]} | {shown[1]} |"
            )
        if any(found is not None and found > LINEAR for found in exponents):
            beyond.append(f"- {name}: {bounds.get(name) or 'NOT BOUNDED'}")
    if beyond:
        text += ["", f"Faster than n^{LINEAR:g}:", *beyond]
    return "\n".join(text)

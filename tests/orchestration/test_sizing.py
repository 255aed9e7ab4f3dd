"""The sizing page is what its measurements say, and the benchmark behind it measures each stage and size once."""

import math
from pathlib import Path

import pytest

from tests.benchmarks import growth, sizing
from tests.benchmarks.growth_fit import (
    Line,
    by_stage,
    exponent,
    memory_exponent,
    read_lines,
    table,
    time_exponent,
)
from tests.benchmarks.growth_stages import STAGES
from tests.benchmarks.sizing_model import ASSUMED_SHARE, model_section, utilisation


def line(stage: str, rows: int, seconds: float, mebibytes: float = 100.0, bytes_a_row: int = 10) -> Line:
    return Line(stage, rows, seconds, 2 * seconds, 50.0 + mebibytes, 50.0, bytes_a_row * rows)


def trained(device: str = "CPU", peak: float | None = None) -> Line:
    found = {
        "tokens": 8000,
        "places": 24_000,
        "parameters": 10**9,
        "products": 4,
        "device": device,
        "peak": peak,
    }
    return Line("training", 64, 10.0, 10.0, 900.0, 100.0, 0, found)


def test_the_page_is_what_the_measurements_say() -> None:
    assert sizing.PAGE.read_text(encoding="utf-8") == sizing.page(read_lines(sizing.MEASURED)), (
        "make it again: python -m tests.benchmarks.sizing"
    )


def test_every_stage_is_measured_at_two_sizes() -> None:
    measured = read_lines(sizing.MEASURED)
    for name in STAGES:
        assert len([one for one in measured if one.stage == name]) >= 2, name


def test_what_grows_faster_than_its_rows_is_named_and_bounded() -> None:
    shown = table(read_lines(sizing.MEASURED), {name: stage.bound for name, stage in STAGES.items()})
    assert "NOT BOUNDED" not in shown


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power(power: float) -> None:
    found = exponent((x, 3 * x**power) for x in (10.0, 100.0, 5000.0))
    assert found is not None
    assert math.isclose(found, power)
    assert exponent([(10.0, 3.0), (10.0, 4.0)]) is None


def test_what_is_too_small_to_measure_does_not_count() -> None:
    lines = [line("x", 10, 0.01, 1.0), line("x", 100, 1.0, 10.0), line("x", 1000, 10.0, 100.0)]
    assert time_exponent(lines) == pytest.approx(1.0)
    assert memory_exponent(lines) == pytest.approx(1.0)


def test_an_unbounded_stage_is_called_so() -> None:
    lines = [line("sorting", 10**4, 1.0), line("sorting", 10**5, 100.0)]
    assert "- sorting: NOT BOUNDED" in table(lines, {"sorting": ""})
    assert "- sorting: few rows" in table(lines, {"sorting": "few rows"})


def test_extrapolation_by_hand() -> None:
    found = sizing.extrapolate(
        [line("reading", 10**4, 1.0, 10.0), line("reading", 10**5, 10.0, 100.0)], 10**6
    )
    assert found.cpu_seconds == pytest.approx(100.0)
    assert found.memory == pytest.approx((150.0 + 900.0) * 2**20)
    assert found.disk == pytest.approx(10**7)
    # Never more slowly than the rows, and faster where it was measured to be.
    assert (
        sizing.extrapolate([line("reading", 10**4, 5.0), line("reading", 10**5, 10.0)], 10**6).cpu_seconds
        == 100.0
    )
    faster = sizing.extrapolate([line("reading", 10**4, 1.0), line("reading", 10**5, 100.0)], 10**6)
    assert faster.cpu_seconds == pytest.approx(10_000.0)


def test_what_is_spread_over_cores_and_what_is_not() -> None:
    found = {
        name: sizing.extrapolate([line(name, 10**8, seconds)])
        for name, seconds in (("sorting", 36_000.0), ("duplicates", 18_000.0), ("reading", 3600.0))
    }
    machine = sizing.Machine("", "", 10, 64)
    assert sizing.hours("reading", found, machine) == pytest.approx(1.0)
    assert sizing.hours("duplicates", found, machine) == pytest.approx(0.5)
    assert sizing.hours("sorting", found, machine) == pytest.approx(5.5)


def test_a_measured_utilisation_is_taken_and_an_assumed_one_is_called_so() -> None:
    assert utilisation([trained()]).share == ASSUMED_SHARE
    assert "ASSUMED" in "\n".join(model_section([trained()]))
    on_gpu = utilisation([trained(), trained("NVIDIA H100 80GB HBM3", 989e12)])
    assert on_gpu.share == pytest.approx(8000 * 4e9 / 10.0 / 989e12)
    assert "measured on one NVIDIA H100" in on_gpu.origin
    assert "3.0 places a token" in on_gpu.origin
    both = [trained(), trained("NVIDIA H100 80GB HBM3", 989e12)]
    assert set(by_stage(both)) == {"training", "training, NVIDIA H100 80GB HBM3"}
    assert "A core without a GPU did" in "\n".join(model_section(both))


def test_a_model_of_seven_billion_by_hand() -> None:
    """125 tokens a row; 10^8 rows, 4 operations: 3.5e20, on 8 x 989e12 x 0.35 in 35 h."""
    (full_pool,) = (one for one in model_section([trained()]) if one.startswith("| LoRA | 100,000,000"))
    assert "| 35.1 h |" in full_pool


def test_it_measures_in_processes_and_not_twice(tmp_path: Path) -> None:
    results = tmp_path / "growth.jsonl"
    asked = (["recipes"], [200, 400], 300, results)
    assert growth.measure(*asked, folder=tmp_path / "inputs") == 1
    assert growth.measure(*asked, folder=tmp_path / "inputs") == 0
    (found,) = read_lines(results)
    assert (found.stage, found.rows, found.found) == ("recipes", 200, {"rows": 200})
    assert found.cpu_seconds > 0
    assert found.bytes > 0
    assert found.peak_mib >= found.held_mib > 0
    assert not list((tmp_path / "inputs").glob("recipes-*"))
    assert growth.measure(*asked, again=True, folder=tmp_path / "inputs") == 1
    assert len(results.read_text().splitlines()) == 2

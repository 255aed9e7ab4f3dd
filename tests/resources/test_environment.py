import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resources import environment

ROOT = Path(__file__).parents[2]


def _applied(**given: str) -> tuple[list[str], str]:
    """What `apply_safe_defaults` leaves of an environment with `given`, and what it says."""
    script = (
        "import os; from resources.environment import apply_safe_defaults; apply_safe_defaults()\n"
        "names = ('HF_HUB_OFFLINE', 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'MLFLOW_ALLOW_PICKLE_DESERIALIZATION', "
        "'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')\n"
        "print(*(os.environ.get(name, '-') for name in names), oct(os.umask(0)))"
    )
    ours = {*environment.SAFE_DEFAULTS, *environment.FORCED, *environment.UNSET}
    variables = {name: value for name, value in os.environ.items() if name not in ours}
    shown = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=variables | given,
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.split(), shown.stderr


def test_defaults_are_set_but_never_override_the_user() -> None:
    found, told = _applied(HF_HUB_OFFLINE="0")
    assert found == ["0", "1", "false", "-", "0o77"]
    assert not told


def test_what_would_read_pickles_is_overruled_aloud() -> None:
    found, told = _applied(
        TORCH_FORCE_WEIGHTS_ONLY_LOAD="0",
        MLFLOW_ALLOW_PICKLE_DESERIALIZATION="True",
        TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1",
    )
    assert found == ["1", "1", "false", "-", "0o77"]
    for name in (*environment.FORCED, *environment.UNSET):
        assert f"{name}=" in told and told.count("overruled") == 3
    found, told = _applied(TORCH_FORCE_WEIGHTS_ONLY_LOAD="true", TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="0")
    assert found[1:4] == ["1", "false", "-"] and not told


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys, resources.tables, resources.tracking, resources.environment, resources.table_checks\n"
        "import resources.tracking_checks\n"
        "print([n for n in ('lance', 'lancedb', 'mlflow', 'pandas', 'torch', 'dagster') if n in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], cwd=ROOT).decode().strip() == "[]"


def test_outside_a_child_process_nothing_happens() -> None:
    environment.die_with_parent()


STEP = """
import multiprocessing, os, sys, time
def step(method):
    from resources.environment import die_with_parent
    die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)
if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=step, args=(sys.argv[1],))
    process.start()
    process.join()
"""


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a request to the Linux kernel")
@pytest.mark.parametrize(
    ("method", "arguments", "dies"),
    [("spawn", [], True), ("forkserver", [], True), ("spawn", ["api", "grpc"], False)],
)
def test_a_step_dies_with_its_run_but_a_run_survives_its_code_server(
    tmp_path: Path, method: str, arguments: list[str], dies: bool
) -> None:
    script = tmp_path / "run.py"
    script.write_text(STEP)
    run = subprocess.Popen(
        [sys.executable, str(script), method, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert run.stdout is not None
    step = int(run.stdout.readline())
    run.kill()
    run.wait()
    deadline = time.monotonic() + (10 if dies else 1)
    while not _gone(step) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _gone(step) is dies
    if not dies:
        os.kill(step, signal.SIGKILL)

"""The Dagster instance in the data folder: settings, and a first start that cannot leave it half-made."""

import os
import shutil
from pathlib import Path

import dagster as dg

from resources.environment import apply_safe_defaults
from resources.files import exclusive_lock, write_atomically

SETTINGS = """\
# Written by Sultana at the first start; edit it freely.
telemetry:
  enabled: false
nux:
  enabled: false            # the first-visit dialogue covers the page
concurrency:
  runs:
    max_concurrent_runs: 2
  pools:
    default_limit: 1        # one writer per table, one training per device
    granularity: op
run_monitoring:
  enabled: true
  poll_interval_seconds: 30
  start_timeout_seconds: 120
  max_runtime_seconds: 172800
  max_resume_run_attempts: 0
  free_slots_after_run_end_seconds: 30
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
freshness:
  enabled: true
"""


def prepare_instance(data: Path) -> Path:
    """The DAGSTER_HOME of a data folder, made first where missing, and set in the environment.

    Dagster's databases are made in a folder beside and renamed into place under a lock: two first
    starts at once, or a kill during one, must not leave a database that cannot be opened.
    """
    apply_safe_defaults()
    home = data / "dagster"
    data.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(data / ".dagster.lock", timeout=120):
        if not (home / "dagster.yaml").exists():
            temporary = data / ".dagster.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write_atomically(temporary / "dagster.yaml", SETTINGS.encode())
            with dg.DagsterInstance.from_config(str(temporary)) as instance:
                instance.get_runs(limit=1)
                instance.get_asset_keys()
                instance.all_instigator_state()
            os.replace(temporary, home)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance(data: Path) -> dg.DagsterInstance:
    """The Dagster instance of a data folder."""
    return dg.DagsterInstance.from_config(str(prepare_instance(data)))

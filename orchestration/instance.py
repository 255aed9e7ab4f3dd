"""The Dagster instance in the data folder: settings, and a first start that cannot leave it half-made.

Its storage is SQLite in that folder, or the PostgreSQL database that SULTANA_DAGSTER_POSTGRES names.
"""

import errno
import importlib.util
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from assets.partitions import offer_partitions
from resources.addresses import check_address, scheme
from resources.data_format import check_data_folder
from resources.environment import apply_safe_defaults
from resources.errors import SultanaError
from resources.files import exclusive_lock, make_folder, publish_folder, write_atomically

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
  poll_interval_seconds: 10
  start_timeout_seconds: 120
  max_runtime_seconds: 172800
  max_resume_run_attempts: 0
  free_slots_after_run_end_seconds: 10
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
freshness:
  enabled: true
"""
LAUNCHER = """\
run_launcher:               # finds runs whose process is gone
  module: orchestration.run_workers
  class: WatchedRunLauncher
"""
SHORTENED = (("poll_interval_seconds", 30, 10), ("free_slots_after_run_end_seconds", 30, 10))
"""What earlier releases set in dagster.yaml, and what is set now."""

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS)
"""What the system says of a file that the user keeps elsewhere and mounts here."""

POSTGRES = "SULTANA_DAGSTER_POSTGRES"
POSTGRES_STORAGE = f"""\
storage:
  postgres:
    postgres_url:
      env: {POSTGRES}   # without a password: that is in PGPASSWORD or PGPASSFILE
"""


def prepare_instance(data: Path) -> Path:
    """The DAGSTER_HOME of a data folder, made first where missing, and set in the environment.

    Dagster's databases are made in a folder beside and renamed into place under a lock: two first
    starts at once, or a kill during one, must not leave a database that cannot be opened. Raises
    SultanaError where PostgreSQL is asked for and cannot be used, or dagster.yaml says otherwise.
    """
    apply_safe_defaults()
    home = data / "dagster"
    settings = SETTINGS + LAUNCHER + (POSTGRES_STORAGE if _wants_postgres() else "")
    make_folder(data)
    check_data_folder(data)
    with exclusive_lock(data / ".dagster.lock", timeout=120):
        if not (home / "dagster.yaml").exists():
            refuse_half_made(home)
            temporary = data / ".dagster.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write_atomically(temporary / "dagster.yaml", settings.encode())
            with dg.DagsterInstance.from_config(str(temporary)) as instance:
                instance.get_runs(limit=1)
                instance.get_asset_keys()
                instance.all_instigator_state()
            publish_folder(temporary, home)
        else:
            if _wants_postgres():
                _check_storage(home / "dagster.yaml")
            _bring_up_to_date(home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def refuse_half_made(home: Path) -> None:
    """Raises SultanaError where a Dagster instance is there without its settings: a first start renames it whole."""
    if home.is_dir() and any(home.iterdir()):
        raise SultanaError(
            f"The Dagster instance in {home} has no dagster.yaml",
            "Run `sultana doctor --repair`; or restore the folder from a backup",
            code="instance-half-made",
        )


def write_settings(home: Path) -> None:
    """The settings of a first start, where an instance has lost its own."""
    write_atomically(
        home / "dagster.yaml", (SETTINGS + (POSTGRES_STORAGE if _wants_postgres() else "")).encode()
    )


def _wants_postgres() -> bool:
    """Whether the environment names a PostgreSQL database; raises SultanaError where it cannot be used."""
    address = os.environ.get(POSTGRES)
    if not address:
        return False
    check_address(address, POSTGRES)
    if scheme(address) != "postgresql":
        raise SultanaError(
            f"{POSTGRES} is no address of a PostgreSQL database",
            "Write it as postgresql+psycopg2://USER@HOST/NAME",
            code="address-invalid",
        )
    if importlib.util.find_spec("dagster_postgres") is None:
        raise SultanaError(
            f"{POSTGRES} is set, and the package dagster-postgres is not installed",
            "Install it: pip install 'sultana[serving]'",
            code="package-missing",
        )
    return True


def _check_storage(settings: Path) -> None:
    """Runs that were kept in one place would be missing in the other, so the two may not disagree."""
    if "postgres" not in _read(settings).get("storage", {}):
        raise SultanaError(
            f"{POSTGRES} is set, but {settings} keeps runs and events in SQLite",
            f"Unset it, or move {settings.parent} away to start with an empty history in PostgreSQL "
            "(tables and models stay)",
            code="history-elsewhere",
        )


def _read(settings: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(settings.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SultanaError(
            f"{settings} cannot be read: {reason}",
            "Correct it, or move it away: it is written anew then, and the history beside it stays",
            code="broken-instance-settings",
        ) from error
    return found if isinstance(found, dict) else {}


def _bring_up_to_date(file: Path) -> None:
    """Adds the launcher to settings that an earlier release wrote; a launcher that the user chose stays."""
    if "run_launcher" in _read(file):
        return
    text = file.read_text(encoding="utf-8")
    for name, before, now in SHORTENED:
        text = text.replace(f"  {name}: {before}\n", f"  {name}: {now}\n")
    try:
        write_atomically(file, f"{text.rstrip()}\n{LAUNCHER}".encode())
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        logging.getLogger(__name__).warning(
            "%s cannot be changed (%s) and names no run launcher, so runs that were killed are found only when "
            "`sultana ui` or `sultana run` starts. Add to it: %s",
            file,
            os.strerror(error.errno),
            " ".join(LAUNCHER.split()),
        )


def open_instance(data: Path) -> dg.DagsterInstance:
    """The Dagster instance of a data folder; a new one offers strategies and seeds as partitions."""
    instance = dg.DagsterInstance.from_config(str(prepare_instance(data)))
    offer_partitions(instance)
    return instance

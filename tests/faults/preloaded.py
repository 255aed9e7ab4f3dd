"""What every process of these tests starts with. Only imports and caches: nothing is opened, no thread is started."""

import lance.fragment  # noqa: F401
import matplotlib.figure  # noqa: F401
import mlflow.data
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

import orchestration.console
import orchestration.run
import resources.publishing
import resources.tables
import resources.tracking  # noqa: F401
import tests.faults.model_work
import tests.faults.table_work  # noqa: F401
from resources.environment import apply_safe_defaults

apply_safe_defaults()
orchestration.run.defs.resolve_implicit_global_asset_job_def()

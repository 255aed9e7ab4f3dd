"""What every process of these tests starts with. Only imports and caches: nothing is opened, no thread is started."""

import lance.fragment  # noqa: F401
import matplotlib.figure  # noqa: F401
import mlflow.data  # noqa: F401
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

import orchestration.console  # noqa: F401
import orchestration.run
import resources.publishing  # noqa: F401
import resources.tables  # noqa: F401
import resources.tracking  # noqa: F401
import tests.faults.model_work  # noqa: F401
import tests.faults.table_work  # noqa: F401
from resources.environment import apply_safe_defaults

apply_safe_defaults()
orchestration.run.defs.resolve_implicit_global_asset_job_def()

"""MLflow's web server as an application in this process: on the store of the deployment, and with nothing extra on."""

import os
from pathlib import Path

from starlette.types import ASGIApp

from orchestration.web.names import Names
from resources.addresses import DATABASES, scheme
from resources.definitions import ModelRegistry, Storage
from resources.errors import SultanaError
from resources.mlflow_store import quiet_mlflow

_OFF = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
}


def mlflow_application(data: Path, prefix: str, names: Names) -> ASGIApp:
    """MLflow's application, its database made first where missing. Raises SultanaError where MLflow is elsewhere."""
    tracking = ModelRegistry().open(Storage())
    if scheme(tracking.uri) not in DATABASES:
        raise SultanaError(
            "MLflow is a server of its own, which SULTANA_TRACKING_URI names",
            "Open that server's address in the browser",
            code="mlflow-elsewhere",
        )
    with tracking.client():
        pass
    os.environ.update(_OFF)
    os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(
        one for name in ("127.0.0.1", "localhost", "[::1]", *names.proxied) for one in (name, f"{name}:*")
    )
    os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(f"https://{name}" for name in names.proxied)
    quiet_mlflow()
    # By name, because MLflow reads them while the modules that name them are imported.
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = tracking.uri
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(data / "mlflow" / "artifacts")
    os.environ["_MLFLOW_STATIC_PREFIX"] = prefix
    from mlflow.server.fastapi_app import app

    quiet_mlflow()
    application: ASGIApp = app
    return application

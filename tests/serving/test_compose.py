"""The compose file: sound, complete, and refused where a variable that it needs is empty."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

SERVING = Path(__file__).resolve().parents[2] / "orchestration" / "serving"
COMPOSE = SERVING / "compose.yaml"
NEEDED = {
    "SULTANA_AUDITORS_FILE",
    "SULTANA_CERTIFICATE_FILE",
    "SULTANA_FOLDER",
    "SULTANA_HOST",
    "SULTANA_KEY_FILE",
    "SULTANA_POSTGRES_PASSWORD",
    "SULTANA_USERS_FILE",
}
WITH_A_DEFAULT = {"SULTANA_PORT", "SULTANA_USER"}


@pytest.fixture
def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def test_every_variable_is_needed_or_has_a_default() -> None:
    uses = re.findall(r"\$\{(\w+)(:[?-])?", re.sub(r"(?m)^\s*#.*$", "", COMPOSE.read_text()))
    assert {name for name, how in uses if how == ":?"} == NEEDED
    assert {name for name, how in uses if how == ":-"} == WITH_A_DEFAULT
    assert all(how for _, how in uses)
    assert set(re.findall(r"(?m)^(\w+)=$", (SERVING / "example.env").read_text())) == NEEDED


def test_what_it_names_is_there(composed: dict[str, Any]) -> None:
    services = composed["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        assert set(service.get("secrets", ())) <= set(composed["secrets"]), name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (
                source in composed["volumes"]
                or source.startswith("${")
                or source == "$"
                or (SERVING / source).is_file()
            ), volume
    template = (SERVING / "proxy.conf.template").read_text()
    for upstream in re.findall(r"proxy_pass http://(\w+):", template):
        assert upstream in services
    build = composed["x-sultana"]["build"]
    assert (SERVING / build["context"] / build["dockerfile"]).resolve() == SERVING / "Dockerfile"


def test_only_the_proxy_can_be_reached_and_auditors_only_read(composed: dict[str, Any]) -> None:
    services = composed["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert "--read-only" in services["auditor"]["command"]
    for name in ("webserver", "auditor", "mlflow"):  # each behind the guard
        assert services[name]["command"][:3] == ["python", "-m", "orchestration.web.serve"]
        assert "SULTANA_UI_HOSTS" in services[name]["environment"]
    template = (SERVING / "proxy.conf.template").read_text()
    assert len(re.findall(r"proxy_pass", template)) == len(re.findall(r"auth_basic_user_file", template)) == 3
    assert "auth_basic off" not in template


def test_no_secret_is_written_in_it(composed: dict[str, Any]) -> None:
    for service in composed["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert value.startswith("${SULTANA_POSTGRES_PASSWORD:?"), name


def _compose() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    pytest.skip("needs docker compose")


@pytest.mark.parametrize("missing", [None, *sorted(NEEDED)])
def test_docker_compose_takes_it_and_refuses_an_empty_variable(tmp_path: Path, missing: str | None) -> None:
    compose = _compose()
    settings = {name: str(tmp_path) for name in NEEDED} | ({missing: ""} if missing else {})
    checked = subprocess.run(
        [*compose, "-f", str(COMPOSE), "config", "--quiet"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert (checked.returncode == 0) == (missing is None), checked.stderr
    if missing:
        assert missing in checked.stderr

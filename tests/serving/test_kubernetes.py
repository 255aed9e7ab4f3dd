"""The example for Kubernetes: sound by the schemas of what it makes, and its dagster.yaml by Dagster itself.

It has not been tried on a cluster. Where `SULTANA_KUBERAY_CRDS` names a folder with KubeRay's own definitions
(helm-chart/kuberay-operator/crds), the Ray cluster is checked against those as well; where the package
kubernetes-validate is installed, the other objects and the pods against Kubernetes' own schemas.
"""

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from jsonschema import Draft202012Validator

from orchestration.instance import POSTGRES_STORAGE, SETTINGS

PROJECT = Path(__file__).resolve().parents[2]
CLUSTER = PROJECT / "orchestration" / "serving" / "kubernetes" / "cluster.yaml"
REDUCED = Path(__file__).with_name("ray_cluster_schema.yaml")

Object = dict[str, Any]


@pytest.fixture
def objects() -> dict[str, Object]:
    return {one["kind"]: one for one in yaml.safe_load_all(CLUSTER.read_text())}


@pytest.fixture
def cluster(objects: dict[str, Object]) -> Object:
    return objects["RayCluster"]


@pytest.fixture
def head(cluster: Object) -> Object:
    pod: Object = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    return pod


def test_the_cluster_is_sound_and_the_schema_is_not_blind(cluster: Object) -> None:
    schema = Draft202012Validator(yaml.safe_load(REDUCED.read_text()))
    assert not list(schema.iter_errors(cluster))
    for wrong in (
        {"spec": cluster["spec"] | {"headGroup": {}}},
        {"spec": cluster["spec"] | {"authOptions": {"mode": "password"}}},
        {"spec": cluster["spec"] | {"workerGroupSpecs": []}},
        {"apiVersion": "ray.io/v1alpha1"},
    ):
        assert list(schema.iter_errors(cluster | wrong)), wrong


def test_kuberays_own_definition(cluster: Object) -> None:
    folder = os.environ.get("SULTANA_KUBERAY_CRDS")
    if not folder:
        pytest.skip("SULTANA_KUBERAY_CRDS names no folder of KubeRay's definitions")
    definition = yaml.safe_load((Path(folder) / "ray.io_rayclusters.yaml").read_text())
    (schema,) = (
        one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == "v1"
    )
    assert not list(Draft202012Validator(_closed(schema)).iter_errors(cluster))
    wrong = json.loads(json.dumps(cluster))
    wrong["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    assert list(Draft202012Validator(_closed(schema)).iter_errors(wrong))


def test_kubernetes_own_schemas(objects: dict[str, Object], cluster: Object, head: Object) -> None:
    if importlib.util.find_spec("kubernetes_validate") is None:
        pytest.skip("kubernetes-validate is not installed: pip install kubernetes-validate")
    import kubernetes_validate

    workers = [group["template"]["spec"] for group in cluster["spec"]["workerGroupSpecs"]]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        for spec in (head, *workers)
    ]
    for one in (objects["ConfigMap"], objects["PersistentVolumeClaim"], *pods):
        kubernetes_validate.validate(one, "1.33", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pods[0] | {"spec": head | {"container": []}}, "1.33", strict=True)


def test_what_it_names_is_there(objects: dict[str, Object], cluster: Object, head: Object) -> None:
    kinds = {"claimName": "PersistentVolumeClaim", "name": "ConfigMap"}
    for volume in head["volumes"]:
        (source,) = (value for name, value in volume.items() if name != "name")
        for field, kind in kinds.items():
            if field in source:
                assert objects[kind]["metadata"]["name"] == source[field]
    volumes = {volume["name"] for volume in head["volumes"]}
    for container in (*head["initContainers"], *head["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    files = {f"/settings/{name}" for name in objects["ConfigMap"]["data"]}
    assert set(re.findall(r"/settings/[\w.]+", CLUSTER.read_text())) <= files
    asked = {
        (entry["valueFrom"]["secretKeyRef"]["name"], entry["valueFrom"]["secretKeyRef"]["key"])
        for container in (*head["initContainers"], *head["containers"])
        for entry in container.get("env", ())
        if "valueFrom" in entry
    }
    (secret,) = re.findall(r"create secret generic (\S+)", CLUSTER.read_text())
    assert asked == {(secret, key) for key in re.findall(r"--from-literal=([\w-]+)=", CLUSTER.read_text())}
    # KubeRay gives this one to Ray's own containers, by a key of its own naming.
    assert (cluster["spec"]["authOptions"]["secretName"], "auth_token") in asked


def test_only_the_heads_pod_has_the_data_folder(objects: dict[str, Object], cluster: Object) -> None:
    """Its locks and commit log are for one machine."""
    assert objects["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    for group in cluster["spec"]["workerGroupSpecs"]:
        assert "volumes" not in group["template"]["spec"]


def test_ray_is_the_version_that_is_pinned(cluster: Object) -> None:
    pinned = (PROJECT / "resources" / "ray_packages.txt").read_text()
    assert f"\nray=={cluster['spec']['rayVersion']} " in pinned
    start = cluster["spec"]["headGroupSpec"]["rayStartParams"]
    assert json.loads(json.loads(start["resources"])) == {"head": 2}


def test_dagster_yaml_differs_from_ours_in_the_launcher_alone(objects: dict[str, Object]) -> None:
    settings = yaml.safe_load(objects["ConfigMap"]["data"]["dagster.yaml"])
    launcher = settings.pop("run_launcher")
    ours = yaml.safe_load(SETTINGS + POSTGRES_STORAGE)
    ours["run_monitoring"]["start_timeout_seconds"] = 600
    assert settings == ours
    assert launcher["class"] == "RayRunLauncher"


def test_dagster_takes_the_launcher_and_its_settings(objects: dict[str, Object], tmp_path: Path) -> None:
    """Read as Dagster reads dagster.yaml; the class is made, and answers. Storage is the folder's here."""
    pytest.importorskip("dagster_ray", reason="Ray is not installed: make ray")
    from dagster_ray import RayRunLauncher

    settings = yaml.safe_load(objects["ConfigMap"]["data"]["dagster.yaml"])
    del settings["storage"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, RayRunLauncher)
        assert (launcher.address, launcher.num_cpus) == ("http://127.0.0.1:8265", 1)
        assert launcher.resources == {"head": 1}
        assert launcher.supports_check_run_worker_health
    settings["run_launcher"]["config"]["ray"]["adress"] = "http://127.0.0.1:8265"
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with (
        pytest.raises(dg.DagsterInvalidConfigError, match="adress"),
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
    ):
        _ = instance.run_launcher


def test_the_settings_of_runs_are_those_of_our_resource(objects: dict[str, Object]) -> None:
    from resources.definitions import ComputeSetting, Engine

    settings = yaml.safe_load(objects["ConfigMap"]["data"]["settings.yaml"])
    found = ComputeSetting(**settings["resources"]["compute"]["config"])
    assert found.engine is Engine.ray


def _closed(schema: Any) -> Any:
    """The schema with every object closed that lists its properties, as `kubectl apply --validate=strict` has it."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(one) for name, one in schema.items()}
    if closed.pop("x-kubernetes-int-or-string", False):
        closed.pop("anyOf", None)
        closed["type"] = ["integer", "string"]
    preserved = closed.pop("x-kubernetes-preserve-unknown-fields", False)
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object" and not preserved:
        closed.setdefault("additionalProperties", False)
    return closed

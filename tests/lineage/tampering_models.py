"""Ways to change a model, what MLflow says of it, and what Dagster recorded."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tampering_scene import Generator, Scene, Words, flip
from tampering_tables import ref_of


def bit_of_the_model(scene: Scene, generator: Generator) -> Words:
    files = [path for path in scene.artifacts.rglob("*") if path.is_file() and path.name != "MANIFEST.json"]
    path = sorted(files)[int(generator.integers(len(files)))]
    flip(scene, path, generator)
    return ("version 1", path.name, "was changed")


def missing_file_of_the_model(scene: Scene, generator: Generator) -> Words:
    path = next(scene.artifacts.rglob("tokenizer.json"))
    scene.keep(path)
    path.unlink()
    return ("tokenizer.json", "is missing")


def added_file_of_the_model(scene: Scene, generator: Generator) -> Words:
    path = scene.artifacts / "components" / "sitecustomize.py"
    scene.keep(path)
    path.write_text("raise SystemExit")
    return ("sitecustomize.py", "was added")


def other_adapter_with_its_manifest(scene: Scene, generator: Generator) -> Words:
    """Weights, their list of hashes and the tag of its hash, all made to fit."""
    weights = next(scene.artifacts.rglob("adapter_model.safetensors"))
    flip(scene, weights, generator)
    manifest = scene.artifacts / "MANIFEST.json"
    scene.keep(manifest)
    told = json.loads(manifest.read_bytes())
    name = weights.relative_to(scene.artifacts).as_posix()
    told["files"][name] = hashlib.sha256(weights.read_bytes()).hexdigest()
    manifest.write_bytes(json.dumps(told, indent=1, sort_keys=True).encode())
    scene.sql(
        _mlflow(scene),
        "UPDATE model_version_tags SET value = ? WHERE key = 'sultana.manifest_sha256'",
        hashlib.sha256(manifest.read_bytes()).hexdigest(),
    )
    return ("hash of its files",)


def _mlflow(scene: Scene) -> Path:
    return scene.data / "mlflow" / "mlflow.db"


def edited_parameter(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        _mlflow(scene),
        "UPDATE params SET value = '0.5' WHERE key = 'training.learning_rate' AND run_uuid = ?",
        scene.run_id,
    )
    return ("parameters",)


def edited_loss(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        _mlflow(scene),
        "UPDATE metrics SET value = value / 2 WHERE key = 'loss' AND run_uuid = ? AND step = 0",
        scene.run_id,
    )
    return ("metrics",)


def _manifest(scene: Scene) -> Path:
    """The manifest beside the model: MLflow keeps where files lie, so that a copy of its database shares them."""
    (store,) = [
        path for path in scene.artifacts.parents if (path.name, path.parent.name) == ("artifacts", "mlflow")
    ]
    return next(store.rglob("lineage/manifest.json"))


def edited_manifest_in_mlflow(scene: Scene, generator: Generator) -> Words:
    path = _manifest(scene)
    flip(scene, path, generator)
    return ("lineage manifest", "was changed")


def missing_manifest_in_mlflow(scene: Scene, generator: Generator) -> Words:
    path = _manifest(scene)
    scene.keep(path)
    path.unlink()
    return ("lineage manifest", "not with its MLflow run")


def edited_hash_of_the_manifest(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        _mlflow(scene),
        "UPDATE model_version_tags SET value = ? WHERE key = 'sultana.lineage_manifest_sha256'",
        "0" * 64,
    )
    return ("lineage manifest", "rewritten")


def edited_signature(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        _mlflow(scene),
        "UPDATE model_version_tags SET value = ? WHERE key = 'sultana.lineage_manifest_signature'",
        "0" * 128,
    )
    return ("lineage manifest", "signature")


def moved_alias(scene: Scene, generator: Generator) -> Words:
    scene.sql(_mlflow(scene), "DELETE FROM registered_model_aliases WHERE alias = 'champion'")
    return ("@champion",)


def _edit_event(scene: Scene, asset: str, old: str, new: str) -> None:
    """Change the record of the materializations of an asset in Dagster's event log, wherever it stands."""
    for database in sorted((scene.data / "dagster" / "history" / "runs").glob("*.db")):
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if "event_logs" not in tables:
                continue
            rows = connection.execute(
                "SELECT id, event FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND "
                "asset_key = ?",
                (json.dumps([asset]),),
            ).fetchall()
        for place, event in rows:
            assert old in event
            scene.sql(
                database, "UPDATE event_logs SET event = ? WHERE id = ?", event.replace(old, new), place
            )


def edited_configuration_in_dagster(scene: Scene, generator: Generator) -> Words:
    _edit_event(scene, "interpolated_instructions", '"cross_task"', '"any"')
    return ("interpolated_instructions", "record was changed")


def edited_digest_in_dagster(scene: Scene, generator: Generator) -> Words:
    ref = ref_of(scene, "diversity_clusters")
    _edit_event(scene, "diversity_clusters", ref.digest, ref.digest[::-1])
    return ("diversity_clusters",)

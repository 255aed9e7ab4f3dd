"""Settings, checked before anything runs: the configuration of every op and resource, presets and their files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from pydantic import ValidationError

from assets.diversity.config import DiversityChecksConfig, DiversityConfig
from assets.embeddings.config import EmbeddingsChecksConfig, EmbeddingsConfig
from assets.evaluation.config import BenchmarkSplitsConfig, EvaluationConfig, LeaderboardConfig
from assets.failures import wrong_settings
from assets.finetuning.config import CheckpointChecksConfig, CheckpointConfig
from assets.instructions.config import (
    InstructionsChecksConfig,
    InstructionsConfig,
    RawInstructionsChecksConfig,
    RawInstructionsConfig,
)
from assets.interpolation.config import InterpolationConfig
from assets.lineage.config import LeaderboardChecksConfig, LineageConfig
from assets.selection.config import CurriculumChecksConfig, CurriculumConfig
from resources.definitions import EmbedderSetting, LanguageModelSetting, ModelRegistry, NoValues, Storage
from resources.errors import SultanaError

PRESETS = Path(__file__).resolve().parent / "presets"

CONFIGURATIONS: dict[str, type[dg.Config]] = {
    "raw_instructions": RawInstructionsConfig,
    "benchmark_splits": BenchmarkSplitsConfig,
    "instructions": InstructionsConfig,
    "instruction_embeddings": EmbeddingsConfig,
    "interpolated_instructions": InterpolationConfig,
    "diversity_clusters": DiversityConfig,
    "curriculum": CurriculumConfig,
    "checkpoint": CheckpointConfig,
    "baseline_evaluation": EvaluationConfig,
    "evaluation": EvaluationConfig,
    "leaderboard": LeaderboardConfig,
    "lineage_manifest": LineageConfig,
    "raw_instructions_checks": RawInstructionsChecksConfig,
    "instructions_checks": InstructionsChecksConfig,
    "instruction_embeddings_checks": EmbeddingsChecksConfig,
    "diversity_clusters_checks": DiversityChecksConfig,
    "curriculum_checks": CurriculumChecksConfig,
    "checkpoint_checks": CheckpointChecksConfig,
    "leaderboard_checks": LeaderboardChecksConfig,
}

RESOURCES: dict[str, Any] = {
    "io_manager": NoValues(),
    "storage": Storage(),
    "registry": ModelRegistry(),
    "language_model": LanguageModelSetting(),
    "embedder": EmbedderSetting(),
}


def preset_names() -> list[str]:
    """The presets there are, sorted."""
    return sorted(one.stem for one in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> dict[str, Any]:
    """A preset: `partitions` (lists of strategy and seed) and `run_config`. Raises SultanaError."""
    if name not in preset_names():
        raise SultanaError(
            f"There is no preset '{name}'",
            f"Choose one of: {', '.join(preset_names())}",
            code="preset-unknown",
        )
    return read_yaml(PRESETS / f"{name}.yaml", "preset")


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The mapping that a YAML file holds; `what` says what it is in the SultanaError about a wrong one."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SultanaError(
            f"The {what} {path} does not exist", "Check the path", code="settings-file-invalid"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SultanaError(
            f"The {what} {path} is not valid YAML ({reason})", "Correct it", code="settings-file-invalid"
        ) from None
    if not isinstance(found, dict):
        raise SultanaError(
            f"The {what} {path} holds no mapping",
            "Start it with 'ops:' or 'resources:'",
            code="settings-file-invalid",
        )
    return found


def check_configuration(run_config: Mapping[str, Any]) -> None:
    """Raises SultanaError where a setting is unknown, of the wrong type or out of bounds."""
    for key in run_config:
        if key not in ("ops", "resources", "execution", "loggers"):
            raise SultanaError(
                f"The run configuration has an unknown key '{key}'",
                "Use 'ops' and 'resources'",
                code="setting-unknown",
            )
    for name, values in (run_config.get("ops") or {}).items():
        _check_one(f"ops.{name}", CONFIGURATIONS.get(name), values)
    for name, values in (run_config.get("resources") or {}).items():
        resource = type(RESOURCES[name]) if name in RESOURCES else None
        _check_one(f"resources.{name}", resource, values)


def _check_one(where: str, configuration: type[Any] | None, values: Any) -> None:
    if configuration is None:
        known = ", ".join(sorted(CONFIGURATIONS if where.startswith("ops.") else RESOURCES))
        raise SultanaError(
            f"The run configuration names '{where}', which does not exist",
            f"Choose from: {known}",
            code="setting-unknown",
        )
    if not isinstance(values, Mapping) or set(values) - {"config"}:
        raise SultanaError(
            f"'{where}' of the run configuration has no 'config'",
            f"Write {where.split('.')[1]}: {{config: {{…}}}}",
            code="configuration-invalid",
        )
    given = values.get("config") or {}
    unknown = set(given) - set(configuration.model_fields)
    if unknown:
        known = ", ".join(sorted(configuration.model_fields))
        raise SultanaError(
            f"'{where}' has no setting '{sorted(unknown)[0]}'",
            f"Choose from: {known}",
            code="setting-unknown",
        )
    try:
        configuration(**given)
    except ValidationError as error:
        raise wrong_settings(error, where) from None

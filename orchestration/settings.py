"""Settings, checked before anything runs: the configuration of every op and resource, presets and their files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
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
from resources.definitions import (
    ComputeSetting,
    EmbedderSetting,
    LanguageModelSetting,
    ModelRegistry,
    NoValues,
    Storage,
)
from resources.errors import SultanaError
from resources.text import escape_terminal
from resources.yaml_text import parse_yaml

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
    "compute": ComputeSetting(),
}


def preset_names() -> list[str]:
    """The presets there are, sorted."""
    return sorted(one.stem for one in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> dict[str, Any]:
    """A preset: `partitions` (lists of strategy and seed) and `run_config`. Raises SultanaError."""
    if name not in preset_names():
        raise SultanaError(
            f"There is no preset '{_shown(name)}'",
            f"Choose one of: {', '.join(preset_names())}",
            code="preset-unknown",
        )
    return read_yaml(PRESETS / f"{name}.yaml", "preset")


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The mapping that a YAML file holds; `what` says what it is in the SultanaError about a wrong one."""
    try:
        if not path.exists():
            raise SultanaError(
                f"The {what} {path} does not exist", "Check the path", code="settings-file-invalid"
            )
        if not path.is_file():
            raise SultanaError(
                f"The {what} {path} is no file", "Check the path", code="settings-file-invalid"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SultanaError(
            f"The {what} {path} cannot be read: {error.strerror or error}",
            "Check the path and its permissions",
            code="settings-file-invalid",
        ) from None
    except UnicodeDecodeError as error:
        raise SultanaError(
            f"The {what} {path} is not valid YAML ({error})", "Save it as UTF-8", code="settings-file-invalid"
        ) from None
    try:
        found = parse_yaml(text)
    except ValueError as error:
        raise SultanaError(
            f"The {what} {path} is not valid YAML ({error})", "Correct it", code="settings-file-invalid"
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
                f"The run configuration has an unknown key '{_shown(key)}'",
                "Use 'ops' and 'resources'",
                code="setting-unknown",
            )
    for name, values in _mapping(run_config, "ops").items():
        _check_one(f"ops.{_shown(name)}", CONFIGURATIONS.get(name), CONFIGURATIONS, values)
    for name, values in _mapping(run_config, "resources").items():
        resource = type(RESOURCES[name]) if name in RESOURCES else None
        _check_one(f"resources.{_shown(name)}", resource, RESOURCES, values)


def _shown(name: Any) -> str:
    return escape_terminal(str(name), 80)


def _mapping(holder: Mapping[str, Any], name: str) -> Mapping[Any, Any]:
    found = holder.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise SultanaError(
            f"'{name}' of the run configuration holds no mapping",
            f"Write {name}: {{name: {{config: {{…}}}}}}",
            code="configuration-invalid",
        )
    return found


def _check_one(where: str, configuration: type[Any] | None, known: Mapping[str, Any], values: Any) -> None:
    if configuration is None:
        raise SultanaError(
            f"The run configuration names '{where}', which does not exist",
            f"Choose from: {', '.join(sorted(known))}",
            code="setting-unknown",
        )
    given = values.get("config") if isinstance(values, Mapping) and not set(values) - {"config"} else ""
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise SultanaError(
            f"'{where}' of the run configuration has no 'config'",
            f"Write {where.split('.')[1]}: {{config: {{…}}}}",
            code="configuration-invalid",
        )
    unknown = [_shown(one) for one in given if one not in configuration.model_fields]
    if unknown:
        raise SultanaError(
            f"'{where}' has no setting '{sorted(unknown)[0]}'",
            f"Choose from: {', '.join(sorted(configuration.model_fields))}",
            code="setting-unknown",
        )
    try:
        configuration(**given)
    except ValidationError as error:
        raise wrong_settings(error, where) from None
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        # Dagster looks into values before pydantic checks them.
        raise SultanaError(
            f"A setting of {where} has a value of the wrong type: {escape_terminal(str(error), 200)}",
            "Correct it; nothing was started",
            code="configuration-invalid",
        ) from None

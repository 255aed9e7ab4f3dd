"""MLflow's `MLmodel` beside a checkpoint's files, so that MLflow's own loaders can open it.

Written with MLflow's classes but not by `mlflow.transformers.save_model`: that needs the model in memory
again, stores the tokenizer of the base alone, and puts the time of writing and a random id into the file, so
that equal checkpoints would never have equal hashes. An adapter's base is not copied: `MLmodel` names the
folder that it lies in on this machine, and what it is, so that another machine can find it again
(`mlflow.transformers.load_model(..., base_model_path=FOLDER)`). The adapter or the weights lie at the top of
the folder, where peft and transformers read them without MLflow.
"""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from resources.errors import SultanaError

if TYPE_CHECKING:
    from resources.language_model import LanguageModel

MLMODEL = "MLmodel"
MODEL_META = "registered_model_meta"
"""A file that MLflow adds to a local model folder whenever the model is loaded by its registered name."""

UPLOADING = ".artifact.uploading."
"""How the name begins under which MLflow writes a file to a local store before it gets its own."""

INPUT_FILES = ("input_example.json", "serving_input_example.json", "requirements.txt", "python_env.yaml")
"""What MLflow wants beside `MLmodel`."""

TASK = "llm/v1/chat"
INPUT_EXAMPLE = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 32,
}
_PACKAGES = ("mlflow", "torch", "transformers", "peft", "accelerate")
_ADAPTER_CONFIG = "adapter_config.json"
_METADATA = "sultana.base_model"


@dataclass(frozen=True)
class BaseModel:
    """What a checkpoint was trained from. `model` and `revision` are the settings that name it."""

    name: str
    model: str  # "embedded", a folder or the id of a Hub model
    revision: str | None
    fingerprint: str
    folder: str  # where its files lay when the checkpoint was published


def write_flavor(folder: Path, base: "LanguageModel", tokenizer: Any, chat_template: str) -> None:
    """Make `folder`, which holds an adapter or all weights, an MLflow model of the flavours transformers and
    python_function, with a signature, an input example and the tokenizer.

    As a python_function it answers chats (`llm/v1/chat`); MLflow renders them to one string, so that a control
    token in a request's text is parsed as one. `chat_template` is what the model was trained with. Equal
    folders, bases and package versions give equal files.
    """
    import transformers
    from mlflow import pyfunc
    from mlflow.models import Model
    from mlflow.models.utils import _save_example  # it alone knows the form of an input example
    from mlflow.transformers.flavor_config import FlavorKey
    from mlflow.transformers.llm_inference_utils import (
        _LLM_INFERENCE_TASK_KEY,
        _METADATA_LLM_INFERENCE_TASK_KEY,
        infer_signature_from_llm_inference_task,
    )

    from resources.language_model import quiet_transformers

    recorded = describe_base(base)
    config = json.loads((base.files() / "config.json").read_text(encoding="utf-8"))
    is_adapter = (folder / _ADAPTER_CONFIG).is_file()
    flavor: dict[str, Any] = {
        FlavorKey.TASK: "text-generation",
        FlavorKey.INSTANCE_TYPE: "TextGenerationPipeline",
        FlavorKey.MODEL_TYPE: config["architectures"][0],
        # MLflow reads the tokenizer of this folder where a request has stop strings.
        FlavorKey.MODEL_NAME: recorded.folder,
        FlavorKey.COMPONENTS: [FlavorKey.TOKENIZER],
        FlavorKey.COMPONENT_TYPE.format(FlavorKey.TOKENIZER): type(tokenizer).__name__,
        _LLM_INFERENCE_TASK_KEY: TASK,
    }
    if is_adapter:
        flavor |= {FlavorKey.MODEL_LOCAL_BASE: recorded.folder, FlavorKey.PEFT: "."}
        flavor[FlavorKey.TORCH_DTYPE] = f"torch.{base.resolved_dtype()}"
    else:
        flavor[FlavorKey.MODEL_BINARY] = "."

    with quiet_transformers():
        own = tokenizer.chat_template
        tokenizer.chat_template = chat_template
        try:
            tokenizer.save_pretrained(folder / "components" / "tokenizer")
        finally:
            tokenizer.chat_template = own
    model = Model(
        signature=infer_signature_from_llm_inference_task(TASK),
        model_uuid=None,
        metadata={_METADATA_LLM_INFERENCE_TASK_KEY: TASK, _METADATA: asdict(recorded)},
    )
    _save_example(model, INPUT_EXAMPLE, str(folder))
    model.add_flavor("transformers", transformers_version=transformers.__version__, code=None, **flavor)
    pyfunc.add_to_model(model, loader_module="mlflow.transformers", python_env="python_env.yaml")
    requirements = [f"{name}=={version(name)}" for name in _PACKAGES]
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    environment = {
        "python": model.flavors["python_function"]["python_version"],
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment), encoding="utf-8")
    document = {name: value for name, value in model.to_dict().items() if name != "utc_time_created"}
    (folder / MLMODEL).write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")


def describe_base(base: "LanguageModel") -> BaseModel:
    """What `MLmodel` records of a base model."""
    return BaseModel(base.name, base.model, base.revision, base.fingerprint(), str(base.files().resolve()))


def recorded_base(folder: Path) -> BaseModel:
    """The base model that the `MLmodel` in `folder` names. Raises SultanaError where it names none."""
    path = folder / MLMODEL
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    recorded = (found.get("metadata") or {}).get(_METADATA)
    if not isinstance(recorded, dict):
        raise SultanaError(
            f"The model in {folder} does not say which base model it was trained from",
            "It was not registered by this release of Sultana: materialize its checkpoint again",
            code="model-not-ours",
        )
    return BaseModel(**recorded)


def base_folder(folder: Path) -> str | None:
    """The folder that MLflow loads the base of the adapter in `folder` from; None where it needs none."""
    path = folder / MLMODEL
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    base = found.get("flavors", {}).get("transformers", {}).get("local_base_model_path")
    return None if base is None else str(base)


def open_base(recorded: BaseModel, models: Path) -> "LanguageModel":
    """The recorded base model; `models` is where converted and downloaded models lie.

    Raises SultanaError where it is not where it was, or is another model by now.
    """
    from resources.language_model import LanguageModel

    model = LanguageModel(recorded.model, recorded.revision, models)
    try:
        fingerprint = model.fingerprint()
    except SultanaError as error:
        raise SultanaError(
            f"The base model {recorded.name} cannot be opened: {error.problem}",
            f"Put it back where it was ({recorded.folder}). {error.remedy}",
            code=error.code,
        ) from error
    if fingerprint != recorded.fingerprint:
        raise SultanaError(
            f"The base model {recorded.name} is another one than at training: its fingerprint is "
            f"{fingerprint[:16]}…, not {recorded.fingerprint[:16]}…",
            f"Put the model that was trained back into {recorded.folder}, or train the checkpoint again",
            code="base-model-differs",
        )
    return model

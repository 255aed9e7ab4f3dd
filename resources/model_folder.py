"""What a folder of model files may hold, settled before any library opens it.

Weights are safetensors whose header says the truth about the file; an index names files of the folder and
nothing else; settings are plain values of plausible size, and none of them names code, another place or another
implementation; nothing is a pickle, a program, or a link to somewhere else. A folder that fails is refused as a
whole: what Sultana does not read, another program might.

The header of a safetensors file is read by that library itself, which refuses offsets that overlap, leave holes or
end outside the file. Left out on purpose: whether the weights are any good.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from resources.errors import SultanaError
from resources.text import escape_terminal

PICKLES = frozenset(
    {".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".t7"}
)
"""Suffixes of files that are, or may hold, pickles: reading one runs the code in it."""

PROGRAMS = frozenset({".dll", ".dylib", ".exe", ".pyc", ".pyd", ".pyo", ".py", ".so"})
"""Suffixes of code that a library might import from a model's folder."""

MOST_FILES = 10_000
CONFIG_BYTES = 4 << 20
TOKENIZER_BYTES = 256 << 20
TEMPLATE_BYTES = 1 << 20
MOST_ITEMS = 1_000_000
INDEX = ".safetensors.index.json"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CODE_KEYS = frozenset(
    {
        "auto_map",
        "trust_remote_code",
        "custom_pipelines",
        "code_revision",
        "custom_generate",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "use_kernels",
        "kernel_config",
    }
)
_IMPLEMENTATIONS = frozenset({None, "eager", "sdpa", "flash_attention_2"})
_SIZES = {
    re.compile(r"num_.*layers|n_layers?|.*_layers"): 2_048,
    re.compile(r"num_.*heads|n_heads?|.*_heads"): 8_192,
    re.compile(r"(num|n)_.*experts.*"): 8_192,
    re.compile(r"(.*_)?vocab_size"): 8_388_608,
    re.compile(r"hidden_size|d_model|n_embd|dim|embedding_size|head_dim"): 262_144,
    re.compile(r"intermediate_size|.*_intermediate_size|n_inner|ffn_dim|d_ff"): 4_194_304,
    re.compile(r"max_position_embeddings|n_positions|max_seq_len.*"): 1 << 28,
    re.compile(r".*"): 1 << 53,  # positions, seeds, versions: whatever JSON numbers can hold exactly
}
"""Largest whole number of a setting by its name: the first pattern that fits. Several times what is known today."""


def check_model_folder(folder: Path) -> None:
    """Raise SultanaError where a folder is no model, or holds what no model needs."""
    files = dict(_files(folder))
    if "config.json" not in files or not any(name.endswith(".safetensors") for name in files):
        raise _refused(
            folder,
            "is not a model: it needs config.json and *.safetensors",
            "Save the model with save_pretrained, which writes both",
            "model-folder-incomplete",
        )
    if "adapter_config.json" in files:
        # transformers would leave the folder for the base model that the file names.
        raise _refused(
            folder,
            "holds adapter_config.json: it is an adapter, which names a base model of its own",
            "Merge the adapter into its base model first (merge_and_unload of peft)",
            "model-adapter",
        )
    for name, path in files.items():
        _check_file(folder, name, path)
    count_weights(folder)
    for name in sorted(files):
        if name.endswith(INDEX):
            _check_index(folder, files, name)


def count_weights(folder: Path) -> int:
    """How many numbers the safetensors files at the top of a folder hold, from their headers.

    Raises SultanaError where a header is broken or does not fit its file.
    """
    from safetensors import SafetensorError, safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    size = 1
                    for length in file.get_slice(name).get_shape():
                        size *= length
                    total += size
        except (SafetensorError, OSError, ValueError, OverflowError) as error:
            raise _refused(
                folder,
                f"holds {_shown(path.name)}, which is no safetensors file: {_shown(str(error), 200)}",
                "Get the file again from where it came, or save the model again",
                "model-weights",
            ) from error
    return total


def read_settings(path: Path, most: int = CONFIG_BYTES) -> dict[str, Any]:
    """A JSON object of a model's folder. Raises SultanaError where the file is larger than `most` bytes or is none."""
    try:
        size = path.stat().st_size
        if size > most:
            raise ValueError(f"it has {size:,} bytes, at most {most:,} are read")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise _refused(
            path.parent,
            f"holds {_shown(path.name)}, which cannot be read as JSON: {_shown(str(error), 200)}",
            "Get the file again from where it came, or save the model again",
            "model-settings",
        ) from error
    if not isinstance(found, dict):
        raise _refused(
            path.parent,
            f"holds {_shown(path.name)}, which is no JSON object",
            "Get the file again from where it came",
            "model-settings",
        )
    return found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(relative POSIX name, path) of every file; raises SultanaError for links that lead away and special files."""
    count = 0
    for parent, names, found in os.walk(folder):
        for name in sorted(names):
            if (Path(parent) / name).is_symlink():
                raise _leads_away(folder, Path(parent) / name)
        for name in sorted(found):
            path = Path(parent) / name
            count += 1
            if count > MOST_FILES:
                raise _refused(
                    folder,
                    f"holds more than {MOST_FILES:,} files",
                    "Name the folder of one model",
                    "model-folder-incomplete",
                )
            if path.is_symlink() and not _within(folder, path):
                raise _leads_away(folder, path)
            if not stat.S_ISREG(path.stat().st_mode):
                raise _refused(
                    folder,
                    f"holds {_shown(path.name)}, which is no plain file",
                    "Remove it: a model is made of plain files",
                    "model-link",
                )
            yield path.relative_to(folder).as_posix(), path


def _within(folder: Path, link: Path) -> bool:
    """Whether a link stays in the folder, or in the store of the Hub's cache that the folder is a snapshot of."""
    target, root = link.resolve(), folder.resolve()
    if not target.exists():
        return False
    if target.is_relative_to(root):
        return True
    is_snapshot = root.parent.name == "snapshots" and _COMMIT.fullmatch(root.name) is not None
    return is_snapshot and target.is_relative_to(root.parent.parent / "blobs")


def _leads_away(folder: Path, link: Path) -> SultanaError:
    return _refused(
        folder,
        f"holds the link {_shown(link.name)}, which leads out of it or to nothing",
        "Put the file itself in its place",
        "model-link",
    )


def _check_file(folder: Path, name: str, path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise _refused(
            folder,
            f"holds {_shown(name)}, which is or may be a pickle: reading one can run code",
            "Remove it; Sultana reads weights from safetensors alone",
            "model-pickle",
        )
    if suffix in PROGRAMS:
        raise _refused(
            folder,
            f"holds {_shown(name)}, which is code",
            "Remove it; Sultana loads models that transformers knows by itself",
            "model-code",
        )
    if suffix == ".gguf":
        raise _refused(
            folder,
            f"holds {_shown(name)}: GGUF is read from the pinned package of the embedded model alone",
            "Convert it to safetensors elsewhere, or remove it",
            "model-gguf",
        )
    if suffix == ".jinja" and path.stat().st_size > TEMPLATE_BYTES:
        raise _refused(
            folder,
            f"holds {_shown(name)}, a chat template of more than {TEMPLATE_BYTES:,} bytes",
            "Use a model whose template is no program of that size",
            "model-template",
        )
    if suffix != ".json" or name.endswith(INDEX):
        return
    base = path.name
    if base in ("tokenizer.json", "vocab.json", "added_tokens.json"):
        if path.stat().st_size > TOKENIZER_BYTES:
            raise _refused(
                folder,
                f"holds {_shown(name)} of more than {TOKENIZER_BYTES:,} bytes",
                "Use a model whose tokenizer is smaller",
                "model-tokenizer",
            )
        if base == "tokenizer.json":
            _check_tokenizer(folder, name, path)
        return
    if base in ("config.json", "generation_config.json", "tokenizer_config.json"):
        settings = read_settings(path)
        _check_settings(folder, name, settings)
        if base == "tokenizer_config.json":
            _check_tokenizer_settings(folder, name, settings)
        if base == "generation_config.json":
            _check_generation(folder, name, settings)


def _check_settings(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    """No setting that names code or another implementation, no number that no model has."""
    items = 0
    waiting: list[tuple[str, Any]] = list(settings.items())
    while waiting:
        key, value = waiting.pop()
        items += 1
        problem = ""
        if items > MOST_ITEMS:
            problem = f"more than {MOST_ITEMS:,} values"
        elif key in _CODE_KEYS and value not in (None, False, {}, []):
            problem = f"'{_shown(key)}', which names code to run"
        elif key in ("_attn_implementation", "attn_implementation"):
            if not isinstance(value, str | None) or value not in _IMPLEMENTATIONS:
                problem = f"'{_shown(key)}', which names an attention implementation to load"
        elif isinstance(value, int) and not isinstance(value, bool) and name.endswith("config.json"):
            most = next(limit for pattern, limit in _SIZES.items() if pattern.fullmatch(key))
            if abs(value) > most and not key.startswith("model_max_length"):
                problem = f"'{_shown(key)}' of {_shown(str(value), 40)}, more than {most:,}"
        if problem:
            raise _refused(
                folder,
                f"says {problem} (in {_shown(name)})",
                "Take the entry out if the model works without it, or use another model",
                "model-settings",
            )
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += ((key, one) for one in value)


def _check_tokenizer_settings(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if key.endswith("_file") and value is not None and key != "special_tokens_map_file":
            raise _refused(
                folder,
                f"says where '{_shown(key)}' lies (in {_shown(name)}), which may be outside of it",
                "Take the entry out: the files of the folder are used",
                "model-tokenizer",
            )
    template = settings.get("chat_template")
    if isinstance(template, str) and len(template) > TEMPLATE_BYTES:
        raise _refused(
            folder,
            f"has a chat template of {len(template):,} characters",
            "Use a model whose template is no program of that size",
            "model-template",
        )


def _check_generation(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        plain = value is None or isinstance(value, bool | int | float | str)
        ids = isinstance(value, list) and len(value) <= 10_000 and all(type(one) is int for one in value)
        if not (plain or ids or value == {}):
            raise _refused(
                folder,
                f"says '{_shown(key)}' of a kind that is no number, text or list of tokens (in {_shown(name)})",
                "Take the entry out: Sultana decides how texts are drawn",
                "model-settings",
            )


def _check_tokenizer(folder: Path, name: str, path: Path) -> None:
    """A tokenizer that blows up no text: the library bounds neither replacements nor padding."""
    found = read_settings(path, TOKENIZER_BYTES)
    growth = 1
    waiting = [found.get("normalizer"), found.get("pre_tokenizer"), found.get("decoder")]
    steps = 0
    problem = ""
    while waiting and not problem:
        step = waiting.pop()
        if not isinstance(step, dict):
            continue
        steps += 1
        inner = next((step[key] for key in ("normalizers", "pretokenizers", "decoders") if key in step), None)
        if isinstance(inner, list):
            waiting += inner
        if step.get("type") == "Replace":
            growth *= max(1, len(str(step.get("content", ""))))
        if step.get("type") == "Prepend" and len(str(step.get("prepend", ""))) > 64:
            problem = "a step that puts a long text before each text"
        if steps > 64:
            problem = f"{steps} steps before and after"
        if growth > 256:
            problem = "replacements that make a text hundreds of times longer"
    padding = found.get("padding")
    fixed = (padding.get("strategy") or {}) if isinstance(padding, dict) else {}
    if isinstance(fixed, dict) and int(fixed.get("Fixed") or 0) > 1 << 20:
        problem = f"padding to {_shown(str(fixed['Fixed']), 40)} tokens"
    post = json.dumps(found.get("post_processor") or {})
    if len(post) > 100_000:
        problem = "a post-processor of more than 100,000 characters"
    if problem:
        raise _refused(
            folder,
            f"has a tokenizer with {problem} (in {_shown(name)})",
            "Use a model with a tokenizer that keeps the size of a text",
            "model-tokenizer",
        )


def _check_index(folder: Path, files: Mapping[str, Path], name: str) -> None:
    index = read_settings(folder / name, CONFIG_BYTES * 16)
    named = index.get("weight_map")
    values = (
        set(named.values())
        if isinstance(named, dict) and all(type(v) is str for v in named.values())
        else None
    )
    if not values:
        raise _refused(
            folder,
            f"has an index without a weight_map ({_shown(name)})",
            "Save the model again",
            "model-index",
        )
    for one in sorted(values):
        if one != Path(one).name or not one.endswith(".safetensors") or one not in files:
            raise _refused(
                folder,
                f"has an index that names {_shown(one)}, which is no safetensors file of that folder",
                "Get all files of the model again",
                "model-index",
            )


def _refused(folder: Path, problem: str, remedy: str, code: str) -> SultanaError:
    return SultanaError(f"The folder {_shown(str(folder), 300)} {problem}", remedy, code=code)


def _shown(text: str, limit: int = 100) -> str:
    return escape_terminal(text, limit)

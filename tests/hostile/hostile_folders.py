"""Folders of models as strangers may hand them over: changes to a good one, each with the code of its refusal."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

MARKER = "ran-code"
Change = Callable[[Path], None]


class Running:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def settings(name: str, **changed: Any) -> Change:
    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps(found | changed))

    return change


def tokenizer_json(**changed: Any) -> Change:
    return settings("tokenizer.json", **changed)


def file(name: str, content: bytes | str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def a_pickle(name: str, *, instead: bool = False) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(pickle.dumps(Running(folder.parent / MARKER)))
        if instead:
            (folder / "model.safetensors").unlink()

    return change


def header(make: Callable[[dict[str, Any], int], bytes]) -> Change:
    """Another header before the same weights; `make` gets the true one and the length of the weights."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        content = path.read_bytes()
        size = struct.unpack("<Q", content[:8])[0]
        true = json.loads(content[8 : 8 + size])
        weights = content[8 + size :]
        path.write_bytes(make(true, len(weights)) + weights)

    return change


def _written(document: Any) -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text


def _shifted(true: dict[str, Any], length: int) -> bytes:
    names = [name for name in true if name != "__metadata__"]
    true[names[1]]["data_offsets"] = true[names[0]]["data_offsets"]
    return _written(true)


def _grown(true: dict[str, Any], length: int) -> bytes:
    first = next(name for name in true if name != "__metadata__")
    true[first]["shape"] = [1 << 40, 1 << 20]
    return _written(true)


def _beyond(true: dict[str, Any], length: int) -> bytes:
    first = next(name for name in true if name != "__metadata__")
    true[first]["data_offsets"] = [length, length + 4096]
    return _written(true)


def index(**weights: str) -> Change:
    return file("model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": weights}))


def link(name: str, to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        outside = folder.parent / "outside"
        outside.mkdir(exist_ok=True)
        (outside / "model.safetensors").write_bytes(b"x")
        (folder / name).symlink_to(folder.parent / to)

    return change


def without_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    kept = load_file(path)
    kept.pop(sorted(kept)[3])
    save_file(kept, path, metadata={"format": "pt"})


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "notes.txt")


def deep(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
REFUSED: dict[str, tuple[Change, str]] = {
    "a pickle instead of safetensors": (
        a_pickle("pytorch_model.bin", instead=True),
        "model-folder-incomplete",
    ),
    "a pickle beside safetensors": (a_pickle("pytorch_model.bin"), "model-pickle"),
    "a checkpoint of torch": (a_pickle("weights.pt"), "model-pickle"),
    "an upper-case suffix": (a_pickle("Weights.PTH"), "model-pickle"),
    "arguments of a trainer": (a_pickle("training_args.bin"), "model-pickle"),
    "NumPy objects": (a_pickle("data.npy"), "model-pickle"),
    "a pickle in a folder below": (
        lambda f: ((f / "sub").mkdir(), a_pickle("sub/x.pkl")(f))[1],
        "model-pickle",
    ),
    "a pickle called safetensors": (a_pickle("model.safetensors"), "model-weights"),
    "no weights in safetensors": (file("model.safetensors", b""), "model-weights"),
    "a header of another length": (header(lambda t, n: struct.pack("<Q", 1 << 62)), "model-weights"),
    "a header that is no JSON": (header(lambda t, n: struct.pack("<Q", 9) + b"{'a': 1} "), "model-weights"),
    "a header of nesting": (
        header(lambda t, n: struct.pack("<Q", 600_002) + deep(100_000).encode()),
        "model-weights",
    ),
    "offsets that overlap": (header(_shifted), "model-weights"),
    "offsets beyond the file": (header(_beyond), "model-weights"),
    "a shape of exabytes": (header(_grown), "model-weights"),
    "an index that names a path outside": (index(a="../outside/model.safetensors"), "model-index"),
    "an index that names an absolute path": (index(a="/etc/passwd"), "model-index"),
    "an index that names a pickle": (index(a="pytorch_model.bin"), "model-index"),
    "an index that names nothing": (index(), "model-index"),
    "an index that names what is not there": (index(a="model-2.safetensors"), "model-index"),
    "weights that are a link outside": (link("model.safetensors", "outside/model.safetensors"), "model-link"),
    "settings that are a link outside": (link("config.json", "outside/config.json"), "model-link"),
    "a folder that is a link": (link("more", "outside"), "model-link"),
    "a pipe": (fifo, "model-link"),
    "code by auto_map": (
        settings("config.json", auto_map={"AutoModelForCausalLM": "code.Model"}),
        "model-settings",
    ),
    "code by a nested auto_map": (
        settings("config.json", text_config={"auto_map": {"AutoConfig": "o/r--code.C"}}),
        "model-settings",
    ),
    "code for the tokenizer": (
        settings("tokenizer_config.json", auto_map={"AutoTokenizer": ["code.T", None]}),
        "model-settings",
    ),
    "an attention implementation of the Hub": (
        settings("config.json", _attn_implementation_internal="owner/kernel"),
        "model-settings",
    ),
    "the same by its public name": (
        settings("config.json", attn_implementation="owner/kernel"),
        "model-settings",
    ),
    "experts by a kernel": (
        settings("config.json", _experts_implementation_internal="o/k"),
        "model-settings",
    ),
    "trust asked for": (settings("config.json", trust_remote_code=True), "model-settings"),
    "code in the folder": (file("modeling_own.py", "raise SystemExit"), "model-code"),
    "a library in the folder": (file("kernel.so", b"\x7fELF"), "model-code"),
    "code that generates": (file("custom_generate/generate.py", "raise SystemExit"), "model-code"),
    "a GGUF": (file("model.gguf", b"GGUF"), "model-gguf"),
    "a hidden size of a billion": (settings("config.json", hidden_size=10**9), "model-settings"),
    "a billion layers": (settings("config.json", num_hidden_layers=10**9), "model-settings"),
    "a vocabulary of a billion": (settings("config.json", vocab_size=10**9), "model-settings"),
    "a number of 400 digits": (settings("config.json", anything=10**400), "model-settings"),
    "settings that are a list": (file("config.json", "[]"), "model-settings"),
    "settings of nesting": (file("config.json", deep(200_000)), "model-settings"),
    "settings of 5 MB": (file("config.json", json.dumps({"a": "x" * 5_000_000})), "model-settings"),
    "settings that are not UTF-8": (file("config.json", b'{"a": "\xff"}'), "model-settings"),
    "an adapter that names another base": (
        settings("adapter_config.json", base_model_name_or_path="owner/other", peft_type="LORA"),
        "model-adapter",
    ),
    "a tokenizer's file elsewhere": (
        settings("tokenizer_config.json", tokenizer_file="/etc/passwd"),
        "model-tokenizer",
    ),
    "a tokenizer that doubles text 60 times": (
        tokenizer_json(normalizer={"type": "Sequence", "normalizers": [REPLACE] * 60}),
        "model-tokenizer",
    ),
    "a tokenizer that pads to a billion": (
        tokenizer_json(
            padding={"strategy": {"Fixed": 10**9}, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}
        ),
        "model-tokenizer",
    ),
    "a tokenizer of nesting": (file("tokenizer.json", deep(100_000)), "model-settings"),
    "generation by an object": (
        settings("generation_config.json", watermarking_config={"greenlist_ratio": 1}),
        "model-settings",
    ),
    "a chat template of 2 MB": (file("chat_template.jinja", "x" * (2 << 20)), "model-template"),
}
"""Refused when the folder is named: nothing but JSON and the headers of safetensors has been read."""

REFUSED_ON_LOADING: dict[str, tuple[Change, str]] = {
    "an unknown type": (settings("config.json", model_type="own"), "model-unsuitable"),
    "a type of another kind": (settings("config.json", model_type="clip"), "model-unsuitable"),
    "a hidden size that the weights do not have": (
        settings("config.json", hidden_size=65_536, num_attention_heads=512),
        "model-weights",
    ),
    "more layers than there are weights for": (settings("config.json", num_hidden_layers=4), "model-weights"),
    "a vocabulary of millions": (settings("config.json", vocab_size=8_000_000), "model-weights"),
    "no heads": (settings("config.json", num_attention_heads=0), "model-unsuitable"),
    "a size that is a text": (settings("config.json", hidden_size="wide"), "model-unsuitable"),
    "weights that lack one": (without_weights, "model-weights"),
    "a tokenizer that is none": (file("tokenizer.json", '{"model": {"type": "Own"}}'), "model-unsuitable"),
}
"""Refused when it is opened: transformers has read the settings and has made no weight."""

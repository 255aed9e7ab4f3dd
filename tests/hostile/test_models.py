"""Folders of models from strangers: refused before anything of them is opened by a library that could obey them."""

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from small_models import tiny_llama
from tokenizers_of_families import byte_level, turns

from assets.finetuning.adapter_folder import adapter_settings
from assets.finetuning.encoding import ChatEncoder
from resources import chat_template, embedded_files
from resources.embedder import SentenceEmbedder
from resources.errors import SultanaError
from resources.language_model import LanguageModel

MARKER = "ran-code"
Change = Callable[[Path], None]


class Running:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "model"
    model = tiny_llama()
    model.save_pretrained(folder)
    tokenizer = byte_level(["<|end|>"], (), turns("<|", "|>", "<|end|>"), "<|end|>")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "model")
    return tmp_path / "model"


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


def test_there_are_enough() -> None:
    assert len(REFUSED) + len(REFUSED_ON_LOADING) >= 55


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_folder_is_refused_as_it_is_named(folder: Path, name: str) -> None:
    change, code = REFUSED[name]
    change(folder)
    for opened in (LanguageModel(str(folder)).fingerprint, SentenceEmbedder(str(folder)).fingerprint):
        with pytest.raises(SultanaError) as refused:
            opened()
        assert refused.value.code == code and str(refused.value).isprintable()
    assert not (folder.parent / MARKER).exists()


@pytest.mark.parametrize("name", REFUSED_ON_LOADING)
def test_a_model_that_is_none_is_refused_as_it_is_opened(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, code = REFUSED_ON_LOADING[name]
    change(folder)
    model = LanguageModel(str(folder), dtype="float32")
    assert len(model.fingerprint()) == 64
    with pytest.raises(SultanaError) as refused:
        model.load()
    assert refused.value.code == code and str(refused.value).isprintable()


def test_the_good_one_is_opened(folder: Path) -> None:
    model, tokenizer = LanguageModel(str(folder), dtype="float32").load()
    assert model.config.hidden_size == 32 and tokenizer.eos_token == "<|end|>"


def test_settings_of_generation_leave_only_the_tokens(folder: Path) -> None:
    settings(
        "generation_config.json",
        eos_token_id=[2, 3],
        repetition_penalty=9.0,
        num_beams=64,
        max_new_tokens=10**6,
        suppress_tokens=[1, 4],
        cache_implementation="offloaded",
    )(folder)
    made = LanguageModel(str(folder), dtype="float32").load()[0].generation_config
    assert made.eos_token_id == [2, 3]
    told = made.to_diff_dict()
    assert set(told) <= {
        "eos_token_id",
        "bos_token_id",
        "pad_token_id",
        "transformers_version",
        "_from_model_config",
    }


def test_a_snapshot_of_the_hub_s_cache_may_link_to_its_own_store(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "models--owner--name"
    snapshot = store / "snapshots" / ("0" * 40)
    (store / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        shutil.copy(path, store / "blobs" / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    assert len(LanguageModel(str(snapshot)).fingerprint()) == 64
    (snapshot / "vocab.txt").symlink_to("/etc/passwd")
    with pytest.raises(SultanaError, match="leads out of it"):
        LanguageModel(str(snapshot)).fingerprint()


# A file that changes between hashing and loading


def _rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")


def _exchanged(path: Path) -> None:
    state = path.stat()
    other = path.with_suffix(".other")
    shutil.copy(path, other)
    _rewritten(other)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [_rewritten, _exchanged])
def test_weights_that_changed_after_they_were_hashed_are_not_loaded(
    folder: Path, change: Callable[[Path], None]
) -> None:
    model = LanguageModel(str(folder), dtype="float32")
    model.fingerprint()
    change(folder / "model.safetensors")
    for opened in (model.load, model.load_tokenizer):
        with pytest.raises(SultanaError, match="has changed since it was hashed") as refused:
            opened()
        assert refused.value.code == "model-files-changed"


def test_weights_that_change_while_they_are_loaded_are_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    load = AutoModelForCausalLM.from_pretrained
    original = (folder / "model.safetensors").read_bytes()

    def exchanged(*given: Any, **named: Any) -> Any:
        _rewritten(folder / "model.safetensors")
        found = load(*given, **named)
        (folder / "model.safetensors").write_bytes(original)  # and as it was before
        return found

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", exchanged)
    with pytest.raises(SultanaError, match="has changed since it was hashed"):
        LanguageModel(str(folder), dtype="float32").load()


def test_another_name_for_the_same_content_is_no_change(folder: Path) -> None:
    model = LanguageModel(str(folder), dtype="float32")
    model.fingerprint()
    (folder.parent / "backup").hardlink_to(folder / "model.safetensors")
    model.load()


def test_processes_that_train_hold_their_files_against_those_of_the_first(folder: Path) -> None:
    told = LanguageModel(str(folder)).hashes_digest()
    LanguageModel(str(folder)).check_hashes(told)
    _rewritten(folder / "model.safetensors")
    with pytest.raises(SultanaError, match="others than they were") as refused:
        LanguageModel(str(folder)).check_hashes(told)
    assert refused.value.code == "model-files-changed"


def test_the_embedded_models_are_pinned_in_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from resources import embedder, language_model

    monkeypatch.setattr(language_model, "LANGUAGE_MODEL", "0" * 64)
    with pytest.raises(SultanaError, match="not the one that Sultana was tested with") as refused:
        LanguageModel(folder=tmp_path).files()
    assert refused.value.code == "embedded-model-changed"
    assert len(SentenceEmbedder().fingerprint()) == 64
    monkeypatch.setattr(embedder, "EMBEDDER", embedded_files.EMBEDDER | {"vocab.txt": "0" * 64})
    with pytest.raises(SultanaError, match=r"vocab\.txt of the embedded model"):
        SentenceEmbedder().fingerprint()


# Chat templates


def encoded(template: str) -> Any:
    tokenizer = byte_level(["<|end|>"], (), template, "<|end|>")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    return ChatEncoder(tokenizer).encode("row", turns, 512)


LONG = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TEMPLATES = {
    "Python's objects": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "its globals": "{{ cycler.__init__.__globals__.os.mkdir('MARKER') }}",
    "by a filter": "{{ messages | attr('__class__') }}",
    "by format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}{{ messages | map('x') | list }}",
    "a file": "{% include '/etc/passwd' %}",
    "an import": "{% import 'os' as os %}",
    "a long range": "{% for a in range(10 ** 9) %}{% endfor %}",
    "a loop without end": LONG,
    "a text of gigabytes": "{{ 'x' * 4000000000 }}",
    "a list of gigabytes": "{{ [0] * 4000000000 }}",
    "a number without end": "{{ 9 ** 9 ** 9 }}",
    "a text that doubles": (
        "{% set n = namespace(t='x') %}{% for a in range(40) %}{% set n.t = n.t + n.t %}{% endfor %}"
    ),
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a syntax of its own": "{% nothing %}",
    "a thousand million words": "{{ lipsum(n=1000000000) }}",
}


FEW = ("its globals", "a loop without end", "a text of gigabytes", "a number without end")
"""Those of another kind each: every one of them starts a process."""


@pytest.mark.parametrize(
    "name", [one if one in FEW else pytest.param(one, marks=pytest.mark.slow) for one in TEMPLATES]
)
def test_a_hostile_template_is_refused_in_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "RENDER_SECONDS", 1.0)
    with pytest.raises(SultanaError, match="template"):
        encoded(TEMPLATES[name].replace("MARKER", str(tmp_path / MARKER)))
    assert not (tmp_path / MARKER).exists()


def test_a_template_that_only_renders_is_rendered_as_transformers_does(good: Path) -> None:
    tokenizer = byte_level(["<|end|>"], (), turns("<|", "|>", "<|end|>"), "<|end|>")
    messages = [{"role": "user", "content": "é\n'"}, {"role": "assistant", "content": "b"}]
    own = chat_template.ChatTemplate(tokenizer, tokenizer.chat_template)
    assert not own.is_known
    for given in ({"add_generation_prompt": True}, {"continue_final_message": True}):
        expected = tokenizer.apply_chat_template(messages, tokenize=False, **given)
        assert own.render(messages, **given) == expected
    assert own.render(messages[:1]) == tokenizer.apply_chat_template(messages[:1], tokenize=False)


def test_the_embedded_model_s_template_is_known(models_folder: Path) -> None:
    tokenizer = LanguageModel(folder=models_folder).load_tokenizer()
    assert chat_template.ChatTemplate(tokenizer, tokenizer.chat_template).is_known
    from assets.finetuning.encoding import PLAIN_TEMPLATE

    assert chat_template.ChatTemplate(tokenizer, PLAIN_TEMPLATE).is_known


# Adapters

ADAPTERS: dict[str, dict[str, Any]] = {
    "another base": {"base_model_name_or_path": "owner/model"},
    "a base at a path": {"base_model_name_or_path": "../../elsewhere"},
    "another method": {"peft_type": "PROMPT_TUNING"},
    "a class to import": {"auto_mapping": {"base_model_class": "Own", "parent_library": "own"}},
    "a module to import": {"megatron_core": "own.core", "megatron_config": {"a": 1}},
    "layers by a regular expression": {"target_modules": "(a+)+$"},
    "odd names of layers": {"target_modules": ["q_proj", "(a+)+$"]},
    "layers a thousand times": {"layer_replication": [[0, 1]] * 1000},
    "modules replaced": {"modules_to_save": ["lm_head"]},
    "a rank of a billion": {"r": 10**9},
    "an endless scale": {"lora_alpha": float("inf")},
    "a setting that PEFT does not know": {"own": 1},
    "another initialisation": {"init_lora_weights": "pissa"},
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_that_was_not_made_here_is_refused(tmp_path: Path, name: str) -> None:
    good = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "target_modules": ["q_proj"]}
    good |= {"base_model_name_or_path": "f" * 64}
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text(json.dumps(good))
    assert adapter_settings(tmp_path) == good
    (tmp_path / "adapter_config.json").write_text(json.dumps(good | ADAPTERS[name]))
    with pytest.raises(SultanaError) as refused:
        adapter_settings(tmp_path)
    assert refused.value.code == "adapter-settings"


def test_an_adapter_s_pickle_is_not_looked_for(tmp_path: Path) -> None:
    a_pickle("adapter_model.bin")(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(SultanaError, match=r"no adapter_model\.safetensors"):
        adapter_settings(tmp_path)

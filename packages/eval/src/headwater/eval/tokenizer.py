"""The tokenizer that a checkpoint was trained with, and the check that it is that one."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from headwater.core.errors import EvalError, ManifestError
from headwater.core.manifest import read_manifest
from headwater.core.run import RunInfo
from headwater.core.storage import file_sha256
from headwater.core.tokenizer import end_of_text_of
from headwater.core.tokens import END_NAMES, END_OF_TEXT


class EvalTokenizer:
    """Text to token ids and back, without special tokens being added.

    Args:
        tokenizer: A `tokenizers` tokenizer.
        end_of_text: The text of the token that ends a document.
    """

    def __init__(self, tokenizer: Tokenizer, end_of_text: str = END_OF_TEXT) -> None:
        eot_id = tokenizer.token_to_id(end_of_text)
        if eot_id is None:
            raise EvalError(f"the tokenizer has no {end_of_text} token", hint="use the tokenizer of the training run")
        # A tokenizer.json may carry padding or truncation settings; scores must not depend on them.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.inner = tokenizer
        self.end_of_text = end_of_text
        self.eot_id: int = eot_id

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self.inner.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        return self.inner.encode(text, add_special_tokens=False).ids

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
    return EvalTokenizer(inner, _end_of_text(inner, folder))


def _end_of_text(tokenizer: Tokenizer, folder: Path) -> str:
    """The token that ends a document: the one that the artifact names, or what other model families call it."""
    named = end_of_text_of(folder)
    if tokenizer.token_to_id(named) is not None:
        return named
    return next((name for name in END_NAMES if tokenizer.token_to_id(name) is not None), named)

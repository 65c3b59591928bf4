"""The tokenizer of a Hugging Face folder as the tokenizer of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from headwater.core.config import nearest
from headwater.core.errors import ConfigError, TrainError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Manifest, is_artifact, read_manifest
from headwater.core.storage import file_sha256, storage_errors
from headwater.core.tokenizer import END_OF_TEXT_KEY, TOKENIZER_FILE, Vocabulary, vocabulary_ids
from headwater.core.tokens import END_NAMES
from headwater.train import PRODUCER
from headwater.train.interchange.tokenizer_files import FILES, read_config, special_name


class TokenizerImport:
    """The tokenizer files of a folder.

    Args:
        folder: The folder.
        end_of_text: The token that ends a document; default: the first of `END_NAMES` that there is, or the
            tokenizer's own `eos_token`.

    Raises:
        ConfigError: `end_of_text` is no token of it.
        TrainError: There is no `tokenizer.json`, it is no tokenizer, or it does not say what ends a text.
    """

    def __init__(self, folder: Path, end_of_text: str | None) -> None:
        self._files = [folder / name for name in FILES if (folder / name).is_file()]
        self.vocabulary = _vocabulary(folder, end_of_text)

    def write(self, run: RunLayout) -> tuple[Manifest, bool]:
        """Makes RUN/tokenizer; returns its manifest and whether anything was written.

        Raises:
            ConfigError: The run has another tokenizer already.
            StorageError: The disk refused.
        """
        with storage_errors("read", self._files[0].parent):
            hashes = {path.name: file_sha256(path) for path in self._files}
        config = {"kind": "imported", END_OF_TEXT_KEY: self.vocabulary.end_of_text, "files": hashes}
        writer = ArtifactWriter(run.tokenizer, kind="tokenizer", name="tokenizer", producer=PRODUCER, config=config)
        if (finished := writer.up_to_date()) is not None:
            return finished, False
        if is_artifact(run.tokenizer) and read_manifest(run.tokenizer).key() != writer.key:
            raise ConfigError(
                f"{run.tokenizer} holds another tokenizer already", found=read_manifest(run.tokenizer).producer,
                hint="import into another run folder, or remove this one's tokenizer",
            )  # fmt: skip
        writer.begin()
        with storage_errors("copy the tokenizer to", run.tokenizer):
            for path in self._files:
                shutil.copyfile(path, run.tokenizer / path.name)
        return writer.commit({"kind": "imported", "vocab_size": self.vocabulary.size}), True


def _vocabulary(folder: Path, end_of_text: str | None) -> Vocabulary:
    path = folder / TOKENIZER_FILE
    try:
        ids = vocabulary_ids(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise TrainError(
            f"{folder} has no {TOKENIZER_FILE}", expected="a tokenizer of Hugging Face tokenizers",
            hint="make it with AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        ) from error  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise TrainError(f"{path} is not a tokenizer: {error}", hint="copy the folder again") from error
    if end_of_text is not None and end_of_text not in ids:
        near = nearest(end_of_text, ids)
        raise ConfigError(f"the tokenizer has no token {end_of_text}", expected="one of its special tokens",
                          hint=f"did you mean {near}?" if near else None)  # fmt: skip
    own = special_name(read_config(folder), "eos_token")
    named = [end_of_text] if end_of_text is not None else [*END_NAMES, own]
    found = next((name for name in named if name is not None and name in ids), None)
    if found is None:
        raise TrainError(f"{folder} does not say which token ends a text", hint="name it with --end-of-text")
    return Vocabulary(ids, found)

"""One entry a character: for small models of one alphabet, and for what was published on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headwater.core.errors import ConfigError
from headwater.core.tokens import UNKNOWN
from headwater.data.tokens.config import TokenizerConfig


def train_characters(texts: Iterable[str], config: TokenizerConfig) -> Any:
    """The tokenizer of all characters of a sample, in their order; one that is not in it becomes `UNKNOWN`.

    Returns:
        A `tokenizers.Tokenizer`.

    Raises:
        ConfigError: A special token is a character.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    characters = sorted(set().union(*texts))
    if clash := set(config.specials) & set(characters):
        raise ConfigError(f"the special token {min(clash)} is also a character", hint="choose another name")
    names = [*config.specials, *characters] if config.special_ids == "first" else [*characters, *config.specials]
    # Without merges and without a split, every character of a text is a piece.
    tokenizer = Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, [], unk_token=UNKNOWN))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in config.specials])
    return tokenizer

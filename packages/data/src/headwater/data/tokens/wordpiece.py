"""WordPiece (Schuster and Nakajima 2012) as BERT uses it (Devlin et al. 2019), by Hugging Face tokenizers.

Words are cut at white space and punctuation, so decoding does not give white space back: it is for models that read
text and do not write it. A word that the vocabulary cannot spell becomes the unknown token.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from headwater.core.tokens import UNKNOWN
from headwater.data.tokens.config import TokenizerConfig

PREFIX = "##"


def train_wordpiece(texts: Callable[[], Iterable[str]], config: TokenizerConfig) -> Any:
    """Trains a tokenizer.

    Args:
        texts: Gives the sample from its beginning; it is read twice.
        config: The section.

    Returns:
        A `tokenizers.Tokenizer`. It has fewer entries than asked for when the sample is too small, and more when the
        sample has more characters than the vocabulary has room for.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=config.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The library numbers the characters inside words in the order of a hash map, and breaks ties by those numbers.
    # Given as special tokens they are numbered here, so that training twice gives the same entries.
    first, inner = _characters(texts(), tokenizer)
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size - len(config.specials), min_frequency=config.min_frequency, show_progress=False,
        special_tokens=[*first, *(PREFIX + character for character in inner)],
    )  # fmt: skip
    tokenizer.train_from_iterator(texts(), trainer=trainer)
    numbers: dict[str, int] = tokenizer.get_vocab()
    learnt = sorted(numbers, key=numbers.__getitem__)
    names = [*config.specials, *learnt] if config.special_ids == "first" else [*learnt, *config.specials]
    made = Tokenizer(models.WordPiece({name: place for place, name in enumerate(names)}, unk_token=UNKNOWN))
    made.normalizer, made.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    made.decoder = decoders.WordPiece(prefix=PREFIX)
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in config.specials])
    return made


def _characters(texts: Iterable[str], tokenizer: Any) -> tuple[list[str], list[str]]:
    """The characters that begin words, and those that stand inside them; each sorted."""
    seen: set[str] = set()
    for text in texts:
        seen.update(
            word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        )
    return sorted({word[0] for word in seen}), sorted(set("".join(word[1:] for word in seen)))

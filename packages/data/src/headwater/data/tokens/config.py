"""The recipe sections `tokenizer` and `tokens`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from headwater.core.config import NotValid, Section, Whole
from headwater.core.tokens import CHAT_TOKENS, END_OF_TEXT, SPECIAL_TOKENS, UNKNOWN

# Between brackets, with a letter inside: no pre-tokenizer keeps such a text in one piece, so that none can become the
# special token when it is written in a document.
_SPECIAL = re.compile(r"[<\[][^\s<>\[\]]*[A-Za-z][^\s<>\[\]]*[>\]]")


def _number_or_sources(value: object) -> str:
    return "sources" if isinstance(value, Mapping) else "number"


SampleBytes = Annotated[
    Annotated[Whole, Field(ge=1), Tag("number")]
    | Annotated[dict[str, Annotated[Whole, Field(ge=0)]], Field(min_length=1), Tag("sources")],
    Discriminator(_number_or_sources),
]


class TokenizerConfig(Section):
    """The `tokenizer` section: training a tokenizer.

    Attributes:
        kind: `bpe` (byte-level), `unigram` (SentencePiece, with byte fallback), `wordpiece` (as BERT) or `char` (one
            entry a character); `imported` trains none and takes the one that `headwater import` put into
            RUN/tokenizer, whatever the other keys say.
        vocab_size: Entries, with the special tokens (and the 256 bytes, for bpe and unigram); the most that char has.
        sample_bytes: UTF-8 bytes of training text taken from each source; documents are taken in the order of
            their ids, which are hashes: an even sample. A mapping names sources, and nothing is taken from those
            that it leaves out; a number is for all of them.
        sample_weights: Source → weight. With it, `sample_bytes` is one number for all sources together, and each gives
            its share; nothing is taken from sources that it leaves out.
        min_frequency: Least count of a pair that is merged (bpe and wordpiece).
        split: How bpe cuts text before merging: `gpt2` or `cl100k` (GPT-4, Llama 3: digits by three, line feeds
            together).
        lowercase: Whether wordpiece folds case and accents.
        special_tokens: Names; the end of text is one of them. unigram, wordpiece and char add one for what they cannot
            spell.
        chat_tokens: More special tokens, after those; `true` is `<|im_start|>` and `<|im_end|>`.
        special_ids: Whether their ids are the first or the last of the vocabulary.
    """

    kind: Literal["bpe", "unigram", "wordpiece", "char", "imported"] = "bpe"
    vocab_size: int = Field(default=4096, ge=300, le=1_000_000)
    sample_bytes: SampleBytes = 4_000_000
    sample_weights: dict[str, Annotated[float, Field(gt=0)]] | None = Field(default=None, min_length=1)
    min_frequency: Whole = Field(default=2, ge=1)
    split: Literal["gpt2", "cl100k"] = "gpt2"
    lowercase: bool = False
    special_tokens: tuple[str, ...] = SPECIAL_TOKENS
    chat_tokens: tuple[str, ...] = ()
    special_ids: Literal["first", "last"] = "first"

    @field_validator("chat_tokens", mode="before")
    @classmethod
    def _default_names(cls, value: Any) -> Any:
        return (CHAT_TOKENS if value else ()) if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _whole(self) -> TokenizerConfig:
        names = (*self.special_tokens, *self.chat_tokens)
        for name in names:
            if not _SPECIAL.fullmatch(name) or names.count(name) > 1:
                raise NotValid(f"special tokens that are there once and look like <|name|> or [NAME], not {name!r}")
        if END_OF_TEXT not in self.special_tokens:
            raise NotValid(f"special_tokens with {END_OF_TEXT}", "documents end with it, in tokens and in training")
        if self.sample_weights is not None and not isinstance(self.sample_bytes, int):
            raise NotValid("one number of sample_bytes with sample_weights", "the weights share it among the sources")
        for key, kind in (("split", "bpe"), ("lowercase", "wordpiece")):
            if self.kind != kind and getattr(self, key) != TokenizerConfig.model_fields[key].default:
                raise NotValid(f"no {key} with kind: {self.kind}", f"{key} belongs to kind: {kind}")
        return self

    @property
    def specials(self) -> tuple[str, ...]:
        """All special tokens, in the order of their ids."""
        unknown = () if self.kind == "bpe" or UNKNOWN in self.special_tokens else (UNKNOWN,)
        return (*self.special_tokens, *unknown, *self.chat_tokens)

    def quotas(self, sources: Sequence[str]) -> dict[str, int]:
        """Bytes to sample from each source."""
        if isinstance(self.sample_bytes, Mapping):
            return {source: self.sample_bytes.get(source, 0) for source in sources}
        if self.sample_weights is None:
            return dict.fromkeys(sources, self.sample_bytes)
        total = sum(self.sample_weights.values())
        return {source: int(self.sample_bytes * self.sample_weights.get(source, 0) / total) for source in sources}


class BucketsConfig(Section):
    """A source in buckets of equally many documents, each of which is a source of the mixture: `web-1of4`, …

    Attributes:
        by: Whose figure the documents are ranked by, lowest first: an operator that the source has among its own, or a
            checkpoint (`headwater eval difficulty`).
        figures: Folder of a checkpoint's figures.
        count: How many buckets.
        unscored: What becomes of documents without a figure: an error, or the number of the bucket that takes them.
    """

    by: Literal["perplexity", "quality_classifier", "educational_value", "toxicity", "checkpoint"] = "perplexity"
    figures: str | None = Field(default=None, min_length=1, exclude_if=lambda figures: figures is None)
    count: int = Field(default=4, ge=2, le=32)
    unscored: Literal["error"] | Annotated[int, Field(ge=1, le=32)] = "error"

    @model_validator(mode="after")
    def _there(self) -> BucketsConfig:
        if self.unscored != "error" and self.unscored > self.count:
            raise ValueError(f"unscored is error, or a bucket from 1 to {self.count}")
        if (self.figures is not None) != (self.by == "checkpoint"):
            raise ValueError("by: checkpoint goes with figures, the folder that headwater eval difficulty has written")
        return self


class TokensConfig(Section):
    """The `tokens` section: encoding. Only `buckets` changes what comes out.

    Attributes:
        buckets: Sources that are cut into buckets, each a token data set of its own.
        workers: Processes; 0 means one a core.
        encoder: `auto` takes the fastest that gives the reference's tokens, and is checked against it; `reference` is
            Hugging Face tokenizers alone.
    """

    buckets: dict[str, BucketsConfig] = Field(default_factory=dict)
    workers: int = Field(default=0, ge=0, le=512)
    encoder: Literal["auto", "reference"] = "auto"

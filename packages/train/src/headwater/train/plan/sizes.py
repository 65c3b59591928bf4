"""The model of a size, as a plan has it."""

from __future__ import annotations

from headwater.core.run import ModelShape
from headwater.train.model import Model
from headwater.train.sizes import SMALL_VOCABULARY, values_of


def model_of(size: str, family: str, vocab_size: int | None = None) -> Model:
    """The model of a size, as the recipe's `train.model` section has it.

    Args:
        size: Number of parameters, as `8b`.
        family: One of `sizes.FAMILIES`.
        vocab_size: Entries of the vocabulary; default: the family's, and 32,768 below 0.8 billion parameters.

    Raises:
        ConfigError: No such size, or none of that family.
    """
    values = {"vocab_size": vocab_size, **values_of(size, family, vocab_size)}
    return Model(family=family, **values)  # pyright: ignore[reportArgumentType]


def shape_of(model: Model, seq_len: int) -> ModelShape:
    """The shape of a planned model; its vocabulary is its own."""
    return model.shape(model.vocab_size or SMALL_VOCABULARY, seq_len)

"""Masked language modelling (Devlin et al., NAACL 2019, arXiv:1810.04805, section 3.1), with masks that are drawn anew
each time a text is read (Liu et al., 2019, arXiv:1907.11692, section 4.1).

Of the text of a sample a share is chosen; of that, most becomes the mask token, some another token, and the rest stays.
Every token sees its whole document, and the loss is that of the chosen tokens. Special tokens are never chosen, nor put
in place of others.
"""

from __future__ import annotations

import numpy as np

from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import I64, IGNORE, Objective, Row


class Masked(Objective):
    """Masked language modelling.

    Args:
        seed: The run's seed.
        mask: Id of the mask token.
        special: Ids of all special tokens.
        vocab_size: Entries of the tokenizer's vocabulary.
        ratio: Share of the text that is chosen.
        masked: Share of the chosen that becomes the mask token.
        replaced: Share of the chosen that becomes another token, drawn evenly from those that are not special.
    """

    left_to_right = False
    causal = False

    def __init__(
        self, seed: int, *, mask: int, special: frozenset[int], vocab_size: int, ratio: float, masked: float,
        replaced: float,
    ) -> None:  # fmt: skip
        super().__init__(seed)
        self.mask, self.ratio, self.masked, self.replaced = mask, ratio, masked, replaced
        self.is_special_V = np.zeros(vocab_size, dtype=np.bool_)
        self.is_special_V[sorted(special)] = True
        self.ordinary = np.flatnonzero(~self.is_special_V)

    def row(self, tokens_M: I64, positions_L: I64, draws: Draws) -> Row:
        """See `Objective.row`; the last token that was read has no part in it."""
        tokens_L = tokens_M[:-1]
        text = np.flatnonzero(~self.is_special_V[tokens_L])
        count = min(len(text), max(1, round(len(text) * self.ratio)))
        chosen = text[draws.choose(count, len(text))]
        fate, others = draws.uniform(count), self.ordinary[draws.whole(count, len(self.ordinary))]
        put = np.where(fate < self.masked, self.mask, tokens_L[chosen])
        put = np.where((fate >= self.masked) & (fate < self.masked + self.replaced), others, put)
        inputs, labels = tokens_L.copy(), np.full_like(tokens_L, IGNORE)
        inputs[chosen], labels[chosen] = put, tokens_L[chosen]
        return Row(inputs, labels, positions_L, np.ones(len(tokens_L), dtype=np.bool_))

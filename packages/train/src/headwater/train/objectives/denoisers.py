"""UL2's mixture of denoisers (Tay et al., ICLR 2023, arXiv:2205.05131, table 1 and section 3.1.2): each document is
given to one of seven denoisers, evenly drawn, whose kind a mode token before the prefix tells.

    R   regular spans      mean length 3, 15% · 8, 15%
    X   extreme spans      mean length 3, 50% · 8, 50% · 64, 15% · 64, 50%
    S   sequential         the end of the document is predicted from its beginning, on average a quarter of it

The end that S predicts follows the prefix without a sentinel, as in prefix language modelling; its length is drawn
evenly from 1 to half of the document.
"""

from __future__ import annotations

import numpy as np

from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import I64
from headwater.train.objectives.spans import Pair, Pairs, Spans, SpanTokens

REGULAR = ((3, 0.15), (8, 0.15))
EXTREME = ((3, 0.5), (8, 0.5), (64, 0.15), (64, 0.5))
"""Mean length of a span in tokens, and share of the text."""


class Sequential(Pairs):
    """The S-denoiser.

    Args:
        seed: The run's seed.
        end: Id of the token that ends a document.
        mode: The token before the prefix.
    """

    def __init__(self, seed: int, end: int, mode: int) -> None:
        super().__init__(seed, end, 1.0)
        self.mode = mode

    def pair(self, text: I64, ended: bool, draws: Draws) -> Pair | None:
        """See `Pairs.pair`."""
        if len(text) < 2:
            return None
        cut = len(text) - 1 - draws.one(max(1, len(text) // 2))
        after = [self.end] if ended else []
        return Pair(np.concatenate([[self.mode], text[:cut]]), np.concatenate([text[cut:], after]).astype(np.int64))


class Denoisers(Pairs):
    """The mixture.

    Args:
        seed: The run's seed.
        tokens: Ids of sentinels and end.
        modes: Ids of the tokens of R, S and X.
        longest: As `Spans`.
    """

    def __init__(self, seed: int, tokens: SpanTokens, modes: tuple[int, int, int], longest: int) -> None:
        regular, sequential, extreme = modes
        kinds = [(regular, *one) for one in REGULAR] + [(extreme, *one) for one in EXTREME]
        self.denoisers: list[Pairs] = [
            *(Spans(seed, tokens, density=density, mean_length=mean, longest=longest, mode=mode)
              for mode, mean, density in kinds),
            Sequential(seed, tokens.end, sequential),
        ]  # fmt: skip
        super().__init__(seed, tokens.end, sum(one.growth for one in self.denoisers) / len(self.denoisers))

    def pair(self, text: I64, ended: bool, draws: Draws) -> Pair | None:
        """See `Pairs.pair`."""
        return self.denoisers[draws.one(len(self.denoisers))].pair(text, ended, draws)

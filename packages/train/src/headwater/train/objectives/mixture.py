"""α · causal + (1 − α) · masked language modelling of one model, as UniLM (Dong et al., NeurIPS 2019,
arXiv:1905.03197) and GPT-BERT (Charpentier and Samuel, 2024, arXiv:2410.24159) mix them: sample by sample.

A sample is causal with probability α. Each sample's loss is the mean over its scored tokens, and every sample counts
the same, so that the expected loss is α times the mean causal loss plus 1 − α times the mean masked loss although a
masked sample has few scored tokens.
"""

from __future__ import annotations

from headwater.train.objectives.causal import Causal
from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import I64, Objective, Row
from headwater.train.objectives.masked import Masked


class Mixture(Objective):
    """Causal and masked samples.

    Args:
        masked: The masked objective.
        causal_ratio: α, the share of the samples that are causal.
    """

    causal = False
    even = True

    def __init__(self, masked: Masked, causal_ratio: float) -> None:
        super().__init__(masked.seed)
        self.masked, self.plain, self.causal_ratio = masked, Causal(masked.seed), causal_ratio

    def row(self, tokens_M: I64, positions_L: I64, draws: Draws) -> Row:
        """See `Objective.row`."""
        causal = float(draws.uniform(1)[0]) < self.causal_ratio
        return (self.plain if causal else self.masked).row(tokens_M, positions_L, draws)

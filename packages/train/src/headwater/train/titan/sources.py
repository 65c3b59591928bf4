"""The loss of each source of the mixture.

Which source a sample is from is a function of the order, so the host knows it; its loss is known on the device. The
sums of the sources go to the host with the other figures of the step. They are right on every layout: a process adds up
its own samples, or its own part of their tokens, and these sums are added over the processes as the loss itself is.

Legend: S sources, B samples of a micro-batch, N those of all micro-batches of a step on this process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headwater.core import metrics as names
from headwater.core.skips import KeptOrder
from headwater.train.inputs import Inputs

I64 = npt.NDArray[np.int64]
MOST = 32
"""Sources with a label of their own; of a mixture of more, the smallest by weight are "other" together."""
OTHER = "other"


class Sources:
    """The sources of a run under their labels, and their losses over some steps.

    Args:
        inputs: The run's inputs.

    Attributes:
        labels: Of the sums, in order.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        known = [source.name for source in inputs.order.sources]
        weights = inputs.mixture.normalised()
        own = known if len(known) <= MOST else sorted(known, key=lambda name: (-weights[name], name))[: MOST - 1]
        self.labels = [name for name in known if name in own] + ([OTHER] if len(own) < len(known) else [])
        self._label_of = np.array([self.labels.index(name if name in own else OTHER) for name in known])
        self.forget()

    def forget(self) -> None:
        """Begins to add up anew."""
        self._nats = [0.0] * len(self.labels)
        self._tokens = [0.0] * len(self.labels)

    def shares(self, which: Sequence[I64], tokens: Sequence[I64]) -> tuple[npt.NDArray[np.float32], list[int]]:
        """What of a step is whose.

        Args:
            which: For each micro-batch, of which source its samples are: indices into the order's, shape [B].
            tokens: For how many tokens the loss of each of them counts, shape [B].

        Returns:
            Which label each sample has, as 0 and 1 of shape [S, N]; for how many tokens each label's loss counts.
        """
        one_hot_SN = self._label_of[np.concatenate(which)] == np.arange(len(self.labels))[:, None]
        return one_hot_SN.astype(np.float32), (one_hot_SN @ np.concatenate(tokens)).tolist()

    def add(self, nats: Sequence[float], tokens: Sequence[float]) -> None:
        """Takes a step.

        Args:
            nats: Summed losses, by label.
            tokens: For how many tokens these count, by label.
        """
        if all(map(math.isfinite, nats)):
            self._nats = [sum(pair) for pair in zip(self._nats, nats, strict=True)]
            self._tokens = [sum(pair) for pair in zip(self._tokens, tokens, strict=True)]

    def take(self, until: int, order: KeptOrder) -> dict[str, float]:
        """Series of the losses since the last call, of sources that came up, and of tokens and weights of all.

        Args:
            until: How many samples were trained on so far.
            order: The order as it is consumed.
        """
        length = self._inputs.config.seq_len
        tokens = np.zeros(len(self.labels), dtype=np.int64)
        for number, source in enumerate(self._inputs.order.sources):
            tokens[self._label_of[number]] += order.drawn(source.name, until) * length
        found = {
            names.TRAIN_SOURCE_TOKENS.series(source=label): float(count)
            for label, count in zip(self.labels, tokens, strict=True)
        }
        for label, nats, scored in zip(self.labels, self._nats, self._tokens, strict=True):
            if scored:
                found[names.TRAIN_SOURCE_LOSS.series(source=label)] = nats / scored
        self.forget()
        now = order.order.stages[order.stage_at(max(until - 1, 0))].weights
        return found | self.weights(now)

    def weights(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Series of the shares that weights of sources give."""
        shares, total = np.zeros(len(self.labels)), math.fsum(weights.values())
        for number, source in enumerate(self._inputs.order.sources):
            shares[self._label_of[number]] += weights.get(source.name, 0.0) / total
        return {
            names.TRAIN_SOURCE_WEIGHT.series(source=label): float(share)
            for label, share in zip(self.labels, shares, strict=True)
        }

    def validation(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Series of the validation losses of the sources that have a label of their own."""
        return {
            names.TRAIN_SOURCE_VALIDATION_LOSS.series(source=name): loss
            for name, loss in losses.items()
            if name in self.labels
        }

"""The validation set of an objective: the held-out windows as the model is given them, always with the same masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headwater.train.held_out import HeldOut
from headwater.train.objectives.examples import IGNORE, Objective


def of_objective(data: HeldOut, objective: Objective, end: int) -> HeldOut:
    """Held-out windows made into an objective's examples; the end of a document is not scored.

    Args:
        data: The windows of causal language modelling.
        objective: The objective.
        end: Id of the token that ends a document.
    """
    last_B1 = np.where(data.labels_BL[:, -1:] == IGNORE, end, data.labels_BL[:, -1:])
    tokens_BM = np.concatenate([data.inputs_BL, last_B1], axis=1)
    made = objective.rows(tokens_BM, data.positions_BL, range(len(tokens_BM)), purpose="validation")
    labels = np.where(made.labels_BL == end, IGNORE, made.labels_BL)
    return replace(
        data, inputs_BL=made.inputs_BL, labels_BL=labels, positions_BL=made.positions_BL, seen_BL=made.seen_BL,
        chances_BL=made.chances_BL,
    )  # fmt: skip

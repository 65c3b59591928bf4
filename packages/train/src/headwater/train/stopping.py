"""The recipe's `train.early_stopping` section: a run ends when its validation loss has not fallen for a while.

(Prechelt, 1998, "Early stopping — but when?")
"""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import Field

from headwater.core.config import Section, Whole


class EarlyStopping(Section):
    """When to end.

    Attributes:
        patience: Validations in a row that bring no new best.
        min_delta: How far below the best a loss has to be to be the new one, in nats a token.
    """

    patience: Whole = Field(ge=1)
    min_delta: float = Field(default=0.0, ge=0)


class Patience:
    """Counts the validations since the best one. Its state lies in the checkpoint, so that a resume stops alike.

    Args:
        config: The section.
    """

    def __init__(self, config: EarlyStopping) -> None:
        self._config = config
        self._best = float("inf")
        self._best_step = self._seen_step = self._without = 0

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the best validation."""
        return self._best_step, self._best

    @property
    def over(self) -> bool:
        """Whether the run is to end."""
        return self._without >= self._config.patience

    def see(self, step: int, loss: float) -> None:
        """Takes the validation after a step; one that was seen already counts once."""
        if step <= self._seen_step:
            return
        self._seen_step = step
        if loss < self._best - self._config.min_delta:
            self._best, self._best_step, self._without = loss, step, 0
        else:
            self._without += 1

    def state_dict(self) -> dict[str, Any]:
        """What there is to know."""
        best = self._best if math.isfinite(self._best) else None
        state = {"best": best, "best_step": self._best_step, "seen_step": self._seen_step, "without": self._without}
        return {"json": json.dumps(state, sort_keys=True)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from there."""
        state = json.loads(state_dict["json"])
        self._best = float("inf") if state["best"] is None else float(state["best"])
        self._best_step, self._seen_step, self._without = (state[key] for key in ("best_step", "seen_step", "without"))

"""The data and the recipes of the matrix: small enough that a training takes seconds on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from headwater.core.config import Section
from headwater.core.layout import RunLayout
from headwater.core.run import Experts, LatentAttention
from headwater.core.tokens import MASK, MIDDLE_TOKENS, MODE_TOKENS, SENTINEL
from headwater.train import synthetic
from headwater.train.config import TrainConfig
from headwater.train.matrix.plain_examples import Tokens
from headwater.train.objectives.config import NAMES

SENTINELS = 16
SPECIALS = (MASK, *MIDDLE_TOKENS, *MODE_TOKENS, *(SENTINEL.format(number) for number in range(SENTINELS)))
VOCAB = 96
SOURCES = {"code": 1, "web": 3}
_FIRST = VOCAB - 1 - len(SPECIALS)
TOKENS = Tokens(
    end=VOCAB - 1, mask=_FIRST, middle=(_FIRST + 1, _FIRST + 2, _FIRST + 3),
    modes=(_FIRST + 4, _FIRST + 5, _FIRST + 6), sentinels=tuple(range(_FIRST + 7, VOCAB - 1)),
)  # fmt: skip
"""The special tokens of the made-up language."""

OPTIONS: dict[str, dict[str, Any]] = {
    "adamw_8bit": {"block_size": 16}, "sgd": {"learning_rate": 0.3}, "adafactor": {"learning_rate": 0.02},
    "lion": {"learning_rate": 1e-3}, "muon": {"learning_rate": 0.02},
}  # fmt: skip
"""Of optimizers that do not learn in a few dozen steps at what is right for AdamW, or whose blocks are wider than the
model."""
LEARNING_RATE = 5e-3


@dataclass(frozen=True)
class Cell:
    """One training of the matrix: names as a recipe has them; an empty one is the default."""

    objective: str
    optimizer: str
    schedule: str

    @property
    def name(self) -> str:
        """For people and folders."""
        return "-".join(filter(None, (self.objective, self.optimizer, self.schedule)))


def names_of(section: str) -> list[str]:
    """The names of what can be chosen in a part of the `train` section; of one without a choice, an empty one."""
    if section == "objective":
        return list(NAMES)
    names: list[str] = []
    for kind in _sections(TrainConfig.model_fields[section].annotation):
        field = kind.model_fields.get("name")
        names += [""] if field is None else [str(name) for name in get_args(field.annotation)]
    return names


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in get_args(annotation) for found in _sections(part)]


def make_data(run: RunLayout) -> None:
    """Writes tokenizer and tokens of the made-up language, with every special token that an objective needs."""
    synthetic.make_tokenizer(run, VOCAB, specials=SPECIALS)
    for number, source in enumerate(SOURCES):
        synthetic.make_tokens(run, source, 200, vocab_size=VOCAB, seed=number, specials=len(SPECIALS))


def recipe(cell: Cell, steps: int) -> dict[str, Any]:
    """The recipe of a cell.

    Args:
        cell: Which.
        steps: Optimizer steps.
    """
    model: dict[str, Any] = {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "ffn_dim": 64}
    if cell.objective == "multi_token":
        model = {
            "family": "deepseek_v3", "dim": 32, "n_layers": 2, "n_heads": 4, "ffn_dim": 64,
            "experts": Experts(count=4, top_k=2, ffn_dim=32).model_dump(),
            "latent": LatentAttention(kv_rank=16, nope_dim=8, rope_dim=8, value_dim=8).model_dump(),
        }  # fmt: skip
    optimizer = {"name": cell.optimizer} if cell.optimizer else {}
    schedule = {"name": cell.schedule} if cell.schedule else {}
    train: dict[str, Any] = {
        "model": model, "objective": {"kind": cell.objective}, "seq_len": 64, "global_batch": 8, "micro_batch": 4,
        "steps": steps,
        "optimizer": {"learning_rate": LEARNING_RATE, **optimizer, **OPTIONS.get(cell.optimizer, {})},
        "schedule": {**schedule, "warmup_steps": max(1, steps // 10)},
        "validation": {"every": 0}, "checkpoint": {"every": steps, "background": False},
        "device": "cpu", "threads": 1,
    }  # fmt: skip
    return {"name": "matrix", "seed": 1, "mixture": {"weights": SOURCES}, "train": train}
